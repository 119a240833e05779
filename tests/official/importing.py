"""Small releases to import: answers about them, and the bytes of what was made."""

from pathlib import Path

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.names import LOCK
from salient_imagenet_data.official.importing import ImportConfig

CONFIG = ImportConfig(preprocessing=Preprocessing(60, 56), shard_rows=4)
ANSWERS = (
    "WorkerId,Input.wordnet_id,Input.class_index,Input.feature_index,Input.feature_rank,"
    "Answer.main,Answer.confidence,Answer.reasons\n"
)


def answers(path: Path, pairs: list[tuple[int, int, int, str]]) -> Path:
    """(class, feature, rank, answer), five people each."""
    rows = [f"w{p},{wnids()[c]},{c},{f},{r},{answer},4,because" for c, f, r, answer in pairs for p in range(5)]
    path.write_text(ANSWERS + "\n".join(rows) + "\n")
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != LOCK)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}

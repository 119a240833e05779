"""The demo: the main job on the embedded scenes, through the same code as real data, checked against truth."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from PIL import Image

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.demo.annotator import answer_all
from salient_imagenet_data.demo.classifiers import SIGMAS, figures_of
from salient_imagenet_data.demo.page import PAGE, SHEET, DemoResult, contact_sheet, page
from salient_imagenet_data.demo.truth import find_cues, score_masks
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.names import CORE_MASK, IMAGE, IMAGE_ID, LABEL, SPURIOUS_MASK
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.scenes.render import Scene
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import UNFINISHED, whole_file, write_text

SCENES, DECORRELATED = 2000, 1000
"""Numbers of scenes: with the cue in 90 % of a class, and with cues that say nothing about the class."""
SEED = 2022
"""Scenes of the demo; the embedded weights were trained on scenes of another seed."""
NETWORKS = ("robust", "standard")
MARKER = "demo.json"
OURS = (
    *(MARKER, "images", "store", "cache", "index.html", "answers.csv", "contact_sheet.png"),
    *(f"{network}.safetensors" for network in NETWORKS),
)
"""What the demo leaves in its folder: where anything else is, nothing is removed."""
ANSWERS = "store.answers.sqlite"
"""What people answered in the browser about the demo's store, beside it. It stays."""
MARK = '{"made_by": "salient-imagenet demo"}\n'


def run(out: Path, *, overwrite: bool = False) -> DemoResult:
    """Do everything below `out` and return what was found. Raises SalientError if `out` exists."""
    _prepare(out, overwrite)
    from salient_imagenet_data.builder.build import build  # loads torch: a refusal above comes at once
    from salient_imagenet_data.builder.train import load_images
    from salient_imagenet_data.networks.robust import load_model

    seconds: dict[str, float] = {}
    scenes = SceneSource(SCENES, seed=SEED, correlation=0.9)
    with _timed(seconds, "scenes"):
        truth = write_scenes(scenes, out / "images")
        source = FolderSource(out / "images")
    for name in NETWORKS:  # left there for the reader's own commands
        with as_file(files("salient_imagenet_data.scenes") / f"{name}.safetensors") as weights:
            shutil.copyfile(weights, out / f"{name}.safetensors")
    with _timed(seconds, "build"):
        robust, sha256 = load_model(out / "robust.safetensors")
        build(source, robust, out / "store", weights_sha256=sha256, overwrite=overwrite)
    with _timed(seconds, "annotate"):
        store = Store(out / "store")
        write_annotations(out / "answers.csv", answer_all(store, truth.__getitem__))
        store = annotate(out / "store", read_annotations(out / "answers.csv"))
    with _timed(seconds, "load"):
        counts = {"scenes": len(source), "features": len(store.features), **_load(store, source, out)}
    with _timed(seconds, "truth"):
        cues, false_alarms = find_cues(store.features)
        masks = score_masks(store, truth.__getitem__)
    with _timed(seconds, "evaluate"):
        others = SceneSource(DECORRELATED, seed=SEED + 1, correlation=0.0)
        # Read once for both networks.
        crops, decorrelated = (
            load_images(images, store.manifest.preprocessing, 1 << 30)[:2] for images in (source, others)
        )
        opened = {name: load_model(out / f"{name}.safetensors") for name in NETWORKS}
        classifiers = {name: figures_of(*model, store, source, crops, decorrelated) for name, model in opened.items()}
    with whole_file(out / SHEET) as file:
        contact_sheet(store, source).save(file, format="PNG")
    result = DemoResult(counts, cues, false_alarms, masks, SIGMAS, classifiers, seconds, round(peak_mib()))
    write_text(out / PAGE, page(result))
    return result


def peak_mib() -> float:
    """The most memory that this process had at once, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where ru_maxrss is also that of the process which started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    # In kilobytes, and on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def write_scenes(scenes: SceneSource, folder: Path) -> dict[str, Scene]:
    """Write scenes as a class-per-folder tree of PNG files. Returns each scene by its image id."""
    truth: dict[str, Scene] = {}
    for index in range(len(scenes)):
        entry, scene = scenes.entry(index), scenes.scene(index)
        path = folder / scenes.class_names[entry.label] / f"{entry.image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(path, compress_level=1)
        truth[f"{scenes.class_names[entry.label]}/{entry.image_id}"] = scene
    return truth


def _prepare(out: Path, overwrite: bool) -> None:
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise SalientError(
                f"{out}: exists", expected="a new folder", then="choose another --out or use --overwrite"
            )
        if not _made_here(out / MARKER):
            raise SalientError(f"{out}: not a demo", got="a folder with other files", then="choose another --out")
        others = [path for path in out.iterdir() if not _is_ours(path.name) and not path.name.startswith(ANSWERS)]
        others += [path for path in (out / "images").rglob("*") if not path.match("images/*/scene-*.png")]
        others = [path for path in others if path.is_file() or path.parent == out]
        if others:
            first = min(others).relative_to(out).as_posix()
            raise SalientError(f"{out}: holds what is not of the demo", got=first, then="move it elsewhere")
        for path in out.iterdir():
            if _is_ours(path.name) and path.name not in (MARKER, "store"):  # the store is for the build to replace
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / MARKER, MARK)


def _is_ours(name: str) -> bool:
    return name.removesuffix(UNFINISHED) in OURS


def _made_here(marker: Path) -> bool:
    """Whether a file is the one that the demo begins its folder with: another tool's may be called the same."""
    return marker.is_file() and marker.read_bytes() == MARK.encode()


def _load(store: Store, source: FolderSource, out: Path) -> dict[str, int]:
    """Open the store in every way, and check that all ways agree on one image."""
    from salient_imagenet_data.dataset import load_dataset
    from salient_imagenet_data.loaders.numpy_loader import NumpyLoader
    from salient_imagenet_data.loaders.torch_dataset import SalientImageNet

    table = load_dataset(store.path, images=source.root, cache_dir=str(out / "cache"))
    torch_set = SalientImageNet(store, source)
    batch = next(iter(NumpyLoader(store, source, batch_size=8)))
    ours, sample = table[0], torch_set[0]
    same = ours[IMAGE_ID] == sample[IMAGE_ID] == batch[IMAGE_ID][0] and ours[LABEL] == sample[LABEL]
    same = same and np.array_equal(np.asarray(ours[IMAGE]), batch[IMAGE][0])
    same = same and np.array_equal(sample[IMAGE].permute(1, 2, 0).numpy(), batch[IMAGE][0])
    for column in (CORE_MASK, SPURIOUS_MASK):
        same = same and np.array_equal(sample[column][0].numpy(), batch[column][0])
        if ours[column] is not None:
            same = same and np.array_equal(np.asarray(ours[column]), to_uint8(batch[column][0]))
    if not same:
        raise SalientError("loaders disagree about the first image", then="this is a defect; please report it")
    return {"dataset_rows": len(table), "torch_samples": len(torch_set), "numpy_rows": len(NumpyLoader(store).rows)}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start

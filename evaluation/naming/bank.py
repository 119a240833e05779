"""The words among which a feature's name is looked for: the user's own, or class names and common cues."""

from __future__ import annotations

from pathlib import Path

from salient_imagenet_data.errors import SalientError, reason
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.spreadsheets.reading import decoded

COMMON_CUES = (
    *("sky", "clouds", "sunset", "sun", "fog", "night", "rain", "smoke", "fire"),
    *("grass", "dry grass", "leaves", "trees", "branches", "bark", "flowers", "moss", "bushes", "reeds", "hay"),
    *("water", "waves", "sea", "beach", "sand", "snow", "ice", "rocks", "gravel", "soil", "mud", "mountains"),
    *("road", "pavement", "buildings", "wall", "bricks", "window", "door", "stairs", "roof", "fence", "bridge"),
    *("floor", "carpet", "wooden floor", "tiles", "ceiling", "curtain", "table", "chair", "sofa", "bed", "shelf"),
    *("cloth", "blanket", "leather", "wool", "paper", "cardboard", "metal", "glass", "plastic", "wood", "wire", "rope"),
    *("person", "face", "hair", "hand", "fingers", "arm", "legs", "child", "crowd", "clothes", "hat", "shoes"),
    *("fur", "feathers", "eyes", "ears", "nose", "mouth", "teeth", "tail", "paws", "wings", "beak", "horns"),
    *("wheels", "headlights", "mirror", "buttons", "screen", "keyboard", "cable", "lamp", "candle", "bottle", "cup"),
    *("plate", "food", "fruit", "vegetables", "text", "logo", "watermark", "picture frame", "dark edge", "shadow"),
    *("white background", "black background", "gray background", "blurred background", "stripes", "dots", "net"),
)
"""What often stands beside things, and often is of them: our own list, neutral about any class."""
LONGEST = 200
"""Letters of a word or phrase."""


def default_bank(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """The class names, as they are shown, and the common cues; each once."""
    return tuple(dict.fromkeys((*display_names(class_names), *COMMON_CUES)))


def read_bank(path: Path) -> tuple[str, ...]:
    """Words or phrases, one a line; empty lines and what follows a # at the beginning of a line are passed over, and
    one that comes twice counts once. Raises SalientError for a file that is none, or fewer than two."""
    try:
        lines = decoded(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SalientError(
            f"{path}: cannot be read", expected="words or phrases, one a line", got=reason(error)
        ) from error
    words = [" ".join(line.split()) for line in lines]
    bank = tuple(dict.fromkeys(word for word in words if word and not word.startswith("#")))
    if len(bank) < 2:
        raise SalientError(f"{path}: too few words", expected="two or more, one a line", got=str(len(bank)))
    if too_long := [word for word in bank if len(word) > LONGEST]:
        raise SalientError(f"{path}: not a word or phrase", expected=f"{LONGEST} letters at most", got=too_long[0][:80])
    return bank

"""The one exception a user is meant to read: a single line with what, expected, got and next step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_FROM_A_WORKER = re.compile(
    r"Caught \w+ in DataLoader worker process \d+\..*salient_imagenet_data\.errors\.\w+: (.*)", re.S
)
"""What torch makes of the message of an error from a worker: its whole traceback, and the message at the end."""


_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that a terminal acts upon and nobody sees: of a file that was taken for a text."""


class SalientError(Exception):
    """A mistake in the input or its state that the user can mend.

    The message is always one line. The command line prints it and exits with status 2.
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", then: str = "") -> None:
        worker = _FROM_A_WORKER.match(what)
        parts = [worker[1] if worker else what]
        if expected:
            parts.append(f"expected {expected}")
        if got:
            parts.append(f"got {got}")
        if then:
            parts.append(then)
        super().__init__(_UNSEEN.sub(lambda match: f"\\x{ord(match[0]):02x}", " ".join("; ".join(parts).split())))


class ImageError(SalientError):
    """One image that could not be decoded; the builder quarantines it and goes on."""


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def many(count: int, one: str, more: str = "") -> str:
    """A count with its word: 1 pair, 2 pairs. more: of several, where it is not the word with an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def reason(error: BaseException) -> str:
    """Why a file could not be read, in words that do not say its name again."""
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


EXTRAS = {
    "torch": "torch",
    "torchvision": "torch",
    "safetensors": "torch",
    "timm": "timm",
    "transformers": "hf",
    "open_clip": "clip",
    "cleanlab": "labels",
    "ray": "ray",
    "simplejpeg": "jpeg",
    "pyautoattack": "autoattack",
    "scipy": "imagenet",
    "zennit": "lrp",
    "s3fs": "s3",
    "starlette": "app",
    "uvicorn": "app",
}
"""Which extra of ours brings a package that the base install lacks."""


def not_installed(package: str, what: str = "") -> SalientError:
    """What to say where a package of an extra cannot be imported. what: that needs it."""
    words = f"{what}: {package} is not installed" if what else f"{package} is not installed"
    return SalientError(words, then=f"pip install '{_installed_from()}[{EXTRAS[package]}]'")


def _installed_from() -> str:
    """What pip is to be given for this very copy: a clone's folder, or the name on the index."""
    clone = Path(__file__).parents[1]
    if not (clone / "pyproject.toml").is_file():
        return "salient-imagenet-data"
    return "." if Path.cwd() == clone else str(clone)

"""The augmentations there are, by name, and the kinds of cues. No torch; `presets` makes them."""

from __future__ import annotations

from typing import Literal, get_args

Background = Literal["background-removed", "background-noise", "background-random", "background-swapped"]
Augmentation = Literal[Background, "corm", "planted-patch", "planted-watermark"]
Cue = Literal["patch", "watermark"]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
"""Those that put something in place of what is not core."""
AUGMENTATIONS: tuple[Augmentation, ...] = (*BACKGROUNDS, "corm", "planted-patch", "planted-watermark")
CUES: tuple[Cue, ...] = get_args(Cue)

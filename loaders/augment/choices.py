"""The augmentations there are, by name, and the kinds of cues. No torch; `presets` makes them."""

from __future__ import annotations

from typing import Literal, get_args

Background = Literal["background-removed", "background-noise", "background-random", "background-swapped", "corm"]
Augmentation = Literal[Background, "planted-patch", "planted-watermark"]
Cue = Literal["patch", "watermark"]
BACKGROUNDS: tuple[Background, ...] = get_args(Background)
"""Those that change what is not core, and no mask."""
AUGMENTATIONS: tuple[Augmentation, ...] = (*BACKGROUNDS, "planted-patch", "planted-watermark")
CUES: tuple[Cue, ...] = get_args(Cue)

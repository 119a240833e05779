"""The words that a build is told, each beside what it chooses. No torch: the command line takes its lists from here."""

from __future__ import annotations

from typing import Literal

Edition = Literal["full", "top65"]
"""All images, or only the top images of at least one pair."""
GroupBy = Literal["prediction", "label"]
"""Whether a class's images are those predicted or those labelled as it."""
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""Of the network."""
Decoder = Literal["pillow", "pillow+torch", "simplejpeg", "nvjpeg"]
"""Of the images: `units.decoding`."""
Stage = Literal["features", "ranking", "maps"]
"""After which a build may stop."""
EngineName = Literal["local", "ray"]
"""Who does the units: `units.engine`."""

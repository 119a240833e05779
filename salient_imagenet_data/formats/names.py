"""Names of the formats, without loading what writes them."""

from __future__ import annotations

from typing import Literal, get_args

Name = Literal["coco", "fiftyone", "webdataset", "label-studio"]
NAMES: tuple[Name, ...] = get_args(Name)
HUB = "hub"
"""The layout of a repository on the Hub, which `hub/` writes."""

"""The names of the layouts of a folder of images. Light: the command line takes its list from here."""

from __future__ import annotations

from typing import Literal, get_args

Layout = Literal["classes", "splits", "kaggle", "validation", "tar"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""classes: a folder a class. splits: a folder a split, in each one of the others. kaggle: a folder that holds
ILSVRC/Data/CLS-LOC. validation: ImageNet's flat validation pictures. tar: shards, or archives."""

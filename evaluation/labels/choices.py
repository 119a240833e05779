"""How candidates are chosen, by name; loads nothing, so that the command line can take its list from here."""

from __future__ import annotations

from typing import Literal

Prune = Literal["noise-rate", "class", "both"]
"""Which images are candidates, when it is known how many: of each pair of classes, those whose label is least likely
against the other class; of each class, those whose label is least likely; or those that both choose [Northcutt et al.
2021, section 3.2]."""
USUAL: Prune = "noise-rate"
FOLDS = 5
DECAY = 1e-3

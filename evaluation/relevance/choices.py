"""How relevance is propagated and what is clustered, by name. No torch."""

from __future__ import annotations

from typing import Literal, get_args

Rules = Literal["epsilon_plus_flat", "epsilon_plus"]
RULES: tuple[Rules, ...] = get_args(Rules)
"""Composites of zennit: the z+ rule at convolutions; the flat rule at the first, or z+ there too."""
By = Literal["maps", "units"]
BYS: tuple[By, ...] = get_args(By)
"""What images are alike in: where their relevance is, as of SpRAy, or which units it is of."""

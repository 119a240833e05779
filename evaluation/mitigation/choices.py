"""What can be chosen of mitigation, by name: losses of `guidance`, methods and images of `retrain_head`. No torch."""

from __future__ import annotations

from typing import Literal, get_args

LOSSES = ("none", "energy", "l1", "ppce", "rrr_star", "rrr", "grad_mask", "act_diff", "adversarial", "corm")
WEIGHTLESS = ("none", "corm")
"""Those that are no term of the loss, so that no weight goes with them."""
Choice = Literal["least", "random", "most"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
"""Which images of a class, by spuriosity; "random" is the control: as many, whatever they show."""
HeadName = Literal["spuriosity", "dfr", "jtt", "group-dro"]
HEAD_METHODS: tuple[HeadName, ...] = get_args(HeadName)
"""How a head is fitted anew: on images chosen by spuriosity, or with groups."""

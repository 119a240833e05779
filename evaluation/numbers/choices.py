"""What figures may be asked for by name; loads nothing, so that the command line can take its lists from here."""

from __future__ import annotations

from typing import Literal

Scale = Literal["logit", "probit"]
"""Where accuracies go before a line is fitted to them."""

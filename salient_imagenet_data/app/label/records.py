"""What is asked and what is written down: pairs, tasks and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Round = Literal["first", "repeat", "wide"]
ROUNDS: tuple[Round, ...] = ("first", "repeat", "wide")
"""first: the five highest images. repeat: the same again, asked of the same person. wide: five random images of the
ranks 6 to 65, to see whether the answer holds for them [Singla & Feizi 2022]."""
SKIPPED, WITHDRAWN = "skipped", "withdrawn"
"""What a row may say beside an answer: the person went past the pair; the person took the row before back."""


class Pair(NamedTuple):
    """A (class, feature) pair."""

    class_index: int
    feature_index: int


class Task(NamedTuple):
    """A pair, asked in a round."""

    pair: Pair
    round: Round


@dataclass(frozen=True)
class Row:
    """One row of the file. time: seconds since 1970. seconds: from when the page was shown, None where not known.
    ticket: of the page that was answered; one page is answered once. shown: ids of the images."""

    id: int
    time: float
    annotator: str
    task: Task
    answer: str
    confidence: int | None
    reason: str
    seconds: float | None
    ticket: str
    shown: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether it says what the feature shows."""
        return self.answer not in (SKIPPED, WITHDRAWN)

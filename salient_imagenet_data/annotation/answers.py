"""One person's answer about one pair, and the two layouts of columns that hold it."""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = (
    "annotator",
    "class_name",
    "class_index",
    "feature_index",
    "feature_rank",
    "answer",
    "confidence",
    "reason",
)
OFFICIAL_COLUMNS = (
    "WorkerId",
    "Input.wordnet_id",
    "Input.class_index",
    "Input.feature_index",
    "Input.feature_rank",
    "Answer.main",
    "Answer.confidence",
    "Answer.reasons",
)


@dataclass(frozen=True)
class Answer:
    """One person's answer about one pair. confidence: 1 to 5, None: not said. feature_rank: 1 is the most important."""

    annotator: str
    class_name: str
    class_index: int
    feature_index: int
    feature_rank: int
    answer: str
    confidence: int | None
    reason: str

"""What a model that answers in words is asked about each class. No torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from salient_imagenet_data.errors import SalientError

QUESTION = "Is there a {} in this picture? Answer with yes or no."
MOST = 100
"""Classes: each is a question of its own about each image under each condition."""


@dataclass(frozen=True)
class Asking:
    """question: with {} where the class is named. most: how many classes may be asked about, so that nobody asks a
    thousand questions an image without a word. Raises SalientError for a question without {}, or with several."""

    question: str = QUESTION
    most: int = MOST

    def __post_init__(self) -> None:
        if self.question.count("{}") != 1:
            raise SalientError("question", expected="{} once, for the name of the class", got=repr(self.question))

    def about(self, names: tuple[str, ...], what: str) -> tuple[str, ...]:
        """A question a class. Raises SalientError for more classes than are allowed. what: who is asked."""
        if len(names) > self.most:
            raise SalientError(
                f"{what}: each class is a question of its own, about each image under each condition",
                expected=f"at most {self.most} classes",
                got=str(len(names)),
                then=f"take a store of fewer classes, or --most-classes {len(names)}",
            )
        return tuple(self.question.replace("{}", name.replace("_", " ")) for name in names)


def sha256_of(texts: tuple[str, ...]) -> str:
    """Hex sha256 of some texts, as records keep what was said to a network."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()

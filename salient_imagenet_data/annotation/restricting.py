"""Answers about many classes, for a store or images of some of them: matched by name, and renumbered."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.imagenet import display_names, wnid_of_words


@dataclass(frozen=True)
class Restricted:
    """annotations: those about the classes that are here, under their numbers here. left_out: names of the other
    classes. classes: how many the file has. answers: how many were left out with them."""

    annotations: Annotations
    left_out: tuple[str, ...]
    classes: int
    answers: int

    def line(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        if not self.left_out:
            return ""
        return (
            f"{len(self.left_out)} of {self.classes} classes of the answers are not here, and {self.answers} answers "
            f"about them are left out: {some(display_names(self.left_out))}"
        )


def of_classes(annotations: Annotations, class_names: tuple[str, ...]) -> Restricted:
    """The answers about some classes, whatever numbers the file gives them.

    Names are equal as they are, or as ImageNet's id of its words. An answer that names no class keeps its number.
    Raises SalientError if no class of the file is here, or two of them are one.
    """
    ids = {wnid_of_words(name): index for index, name in enumerate(class_names)}
    exact = {name: index for index, name in enumerate(class_names)}
    kept, left_out, given = list[Answer](), dict[str, int](), dict[int, int]()
    for answer in annotations.answers:
        name = answer.class_name
        index = answer.class_index if not name else exact.get(name, ids.get(wnid_of_words(name)))
        if index is None:
            left_out[name] = left_out.get(name, 0) + 1
            continue
        if given.setdefault(index, answer.class_index) != answer.class_index:
            raise SalientError(
                f"annotations give class {name!r} two numbers",
                expected="one",
                got=f"{given[index]} and {answer.class_index}",
                then="two classes of the file may be called alike",
            )
        kept.append(dataclasses.replace(answer, class_index=index, class_name=class_names[index] if name else ""))
    if not kept:
        raise SalientError(
            "the answers are about none of the classes here",
            expected=f"classes such as {some(display_names(class_names)[:3])}",
            got=some(display_names(tuple(left_out))),
            then="were they made for another data set?",
        )
    answers = dataclasses.replace(annotations, answers=tuple(kept))
    return Restricted(answers, tuple(left_out), len(left_out) + len(given), sum(left_out.values()))

"""What the majority of the answers makes of a pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import (
    ANSWERS,
    BACKGROUND,
    CORE,
    CUES,
    MAIN_OBJECT,
    MIXED,
    SEPARATE_OBJECT,
    SPURIOUS,
    Kind,
)


@dataclass(frozen=True)
class Verdict:
    """What the answers make of a pair. kind: core or spurious. cue: None for core. reasons: in words, in the order of
    the answers, without the empty ones."""

    class_index: int
    class_name: str
    feature_index: int
    feature_rank: int
    kind: Kind
    cue: str | None
    votes_main_object: int
    votes_separate_object: int
    votes_background: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generalised:
    """Whether answers hold for other images [Singla & Feizi 2022, section 4]: pairs that were asked again on `images`
    random images of the ranks first_rank to last_rank, and how many of them came out as the same kind. low, high: 95 %
    interval of that share."""

    pairs: int
    same: int
    low: float
    high: float
    images: int
    first_rank: int
    last_rank: int


@dataclass(frozen=True)
class Annotations:
    """All answers of a file, checked. sha256: the file's. unanswered: its rows without an answer. generalised: what
    asking again on other images gave, where that was done."""

    answers: tuple[Answer, ...]
    sha256: str
    unanswered: int = 0
    generalised: Generalised | None = None

    def verdicts(self, majority: int = 3) -> tuple[Verdict, ...]:
        """One verdict a pair, by class and rank. Spurious if at least `majority` answers say separate object
        or background [Singla & Feizi 2022, section 3.3]. Raises SalientError where a pair has fewer answers than that,
        and so could not be spurious whatever they say."""
        votes: defaultdict[tuple[int, int], list[Answer]] = defaultdict(list)
        for answer in self.answers:
            votes[answer.class_index, answer.feature_index].append(answer)
        few = [pair for pair, answers in votes.items() if len(answers) < majority]
        if few:
            raise SalientError(
                f"{len(few)} pairs, such as class {few[0][0]}, feature {few[0][1]}, have too few answers",
                expected=f"{majority} that agree make a feature spurious",
                got=f"{len(votes[few[0]])}",
                then=f"collect more, or set the majority (--majority) to at most {min(map(len, votes.values()))}",
            )
        result = []
        for pair in votes.values():
            count = {name: sum(a.answer == name for a in pair) for name in ANSWERS}
            kind, cue = decide(count[SEPARATE_OBJECT], count[BACKGROUND], majority)
            first = pair[0]
            result.append(
                Verdict(
                    first.class_index,
                    first.class_name,
                    first.feature_index,
                    first.feature_rank,
                    kind,
                    cue,
                    count[MAIN_OBJECT],
                    count[SEPARATE_OBJECT],
                    count[BACKGROUND],
                    tuple(a.reason for a in pair if a.reason),
                )
            )
        return tuple(sorted(result, key=lambda v: (v.class_index, v.feature_rank)))


def decide(separate_object: int, background: int, majority: int) -> tuple[Kind, str | None]:
    """Kind and cue from the votes for a spurious feature."""
    if separate_object + background < majority:
        return CORE, None
    if background >= majority:
        return SPURIOUS, BACKGROUND
    return SPURIOUS, SEPARATE_OBJECT if separate_object >= majority else MIXED


def summary(annotations: Annotations, majority: int = 3) -> dict[str, int | str | dict[str, int]]:
    """Counts of what a file holds."""
    verdicts = annotations.verdicts(majority)
    spurious = [v for v in verdicts if v.kind == SPURIOUS]
    classes = {v.class_index for v in verdicts}
    return {
        "answers": len(annotations.answers),
        "unanswered": annotations.unanswered,
        "annotators": len({a.annotator for a in annotations.answers}),
        "classes": len(classes),
        "pairs": len(verdicts),
        "core": len(verdicts) - len(spurious),
        "spurious": len(spurious),
        "spurious_by_cue": {cue: sum(v.cue == cue for v in spurious) for cue in CUES},
        "classes_with_spurious": len({v.class_index for v in spurious}),
        "classes_without_core": len(classes - {v.class_index for v in verdicts if v.kind == CORE}),
        "features": len({v.feature_index for v in verdicts}),
        "sha256": annotations.sha256,
    }

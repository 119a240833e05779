"""What an evaluation prints: one answer a model, then its figures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.numbers.groups import Rule
from salient_imagenet_data.evaluation.plan.vocabulary import BY_KEY, corrupted_words, corruption_words
from salient_imagenet_data.evaluation.report.answer import answers
from salient_imagenet_data.evaluation.report.answer import lines as lines_of
from salient_imagenet_data.evaluation.report.gaps import sorted_gaps
from salient_imagenet_data.evaluation.score.results import ModelResult


def table(models: Sequence[ModelResult], classes: int) -> str:
    """First one answer a model; then accuracies in lines of text, and under each model its ratios and gap and what its
    controls say. classes: of the store."""
    told = answers(models, classes)
    lines = [*map(lines_of, told), ""]
    lines.append(f"{'model':<28} {'figure':<46} {'n':>6} {'classes':>7}  {'value':>6}  95 % interval    clean")
    for model, short in zip(models, told, strict=True):
        name = short.name if len(short.name) <= 28 else "…" + short.name[-27:]
        line = partial(_line, name)
        lines.append(line(BY_KEY["clean_accuracy"].name, model.clean_accuracy))
        lines += [line(c.figure, c.accuracy, c.clean_accuracy) for c in model.conditions if not c.control]
        for ratio, found in model.ratios.items():
            lines += [
                line(f"{ratio.upper()}, {corruption_words(row.corruption)}", row.ratio) + f"  of {row.sides}"
                for row in found
                if not row.control
            ]
        if model.spurious_gap is not None:
            lines.append(line(BY_KEY["spurious_gap"].name, model.spurious_gap))
        if model.groups is not None:
            lines += [line(BY_KEY[key].name, figure) for key, figure in model.groups.named.items()]
            lines[-len(model.groups.named)] += f"  {model.groups.lowest[0].words}"
        if model.feature_gaps:
            lines.append(f"{name:<28} {sorted_gaps(model.feature_gaps).words}")
        lines += [
            f"{name:<28} {corrupted_words(claim.corruption, claim.region)}: {claim.verdict}" for claim in model.controls
        ]
    lines += sorted({model.left_out.words for model in models if model.left_out is not None})
    for rule in sorted({model.groups.rule for model in models if model.groups is not None}):
        what = "(class, cue shown or hidden), counted in the place of classes"
        lines.append(f"groups: {what}; {Rule.parse(rule).words}")
    lines.append("accuracies are means over classes; clean: of the same images without corruption")
    return "\n".join(lines)


def _line(name: str, words: str, e: Estimate, clean: Estimate | None = None) -> str:
    """An estimate of a model, and beside it the clean one of the same images."""
    beside = f"  {clean.value:6.3f}" if clean is not None else ""
    numbers = f"{e.n:>6} {e.classes:>7}  {e.value:6.3f}  {e.interval:<16}"
    return f"{name:<28} {words:<46} {numbers}{beside}".rstrip()

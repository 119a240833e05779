"""A study in text: tables in Markdown for the docs, and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.study.measures import BY_KEY
from salient_imagenet_data.evaluation.study.tables import OfMethod, Ordering

COLUMNS = ("all methods", "guidance alone", "that keep the accuracy", "more than accuracy has")


def cells(o: Ordering) -> tuple[Estimate, ...]:
    """The figures of `COLUMNS`."""
    return (o.all, o.guidance, o.kept, o.beyond)


def words(e: Estimate) -> str:
    """With its interval, in two digits; "" where there is nothing, and no interval of one network."""
    if e.n < 2:
        return f"{e.value:.2f}" if e.n else ""
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def headline(orderings: Sequence[Ordering]) -> str:
    """Markdown, the best measure first."""
    lines = [f"| measure | better | {' | '.join(COLUMNS)} | network by network |"]
    lines.append("| --- | --- |" + " ---: |" * len(COLUMNS) + " --- |")
    for o in orderings:
        seeds = ", ".join(f"{value:.2f}" for value in o.by_start)
        lines.append(f"| {o.title} | {o.wanted if o.key else ''} | {' | '.join(map(words, cells(o)))} | {seeds} |")
    return "\n".join(lines) + "\n"


def title(key: str) -> str:
    """Of a column: a measure, or a truth, which is its own."""
    return BY_KEY[key].title if key in BY_KEY else key


def methods(found: Sequence[OfMethod]) -> str:
    """Markdown, a line a method."""
    keys = list(found[0].figures) if found else []
    lines = [f"| method | weights chosen | {' | '.join(map(title, keys))} |", "| --- | --- |" + " ---: |" * len(keys)]
    for m in found:
        weights = ", ".join(f"{weight:g}" for weight in m.weights)
        lines.append(f"| {m.method} | {weights} | {' | '.join(words(m.figures[key]) for key in keys)} |")
    return "\n".join(lines) + "\n"


def lines(orderings: Sequence[Ordering], found: Sequence[OfMethod]) -> list[str]:
    """For the terminal: the headline, or without a truth some figures of each method."""
    if orderings:
        told = ["rank correlation with accuracy without the cue, over all methods; 1 is the order of the truth"]
        return told + [f"  {o.title:<38} {words(o.all)}" for o in orderings]
    keys = list(found[0].figures)[:5] if found else []
    head = f"  {'method':<22} " + " ".join(f"{title(key):<22}" for key in keys)
    return [head] + [f"  {m.method:<22} " + " ".join(f"{words(m.figures[key]):<22}" for key in keys) for m in found]

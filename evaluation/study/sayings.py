"""What a study says and what it does not, in sentences that its figures make, so that no text outlives its table."""

from __future__ import annotations

from collections.abc import Sequence

from salient_imagenet_data.evaluation.study.measures import ACCURACY, WITH, WITHOUT
from salient_imagenet_data.evaluation.study.methods import BEFORE, CONTROL
from salient_imagenet_data.evaluation.study.tables import OfMethod, Ordering
from salient_imagenet_data.evaluation.study.words import words

FEW = 3
"""Names in a list, before it is cut."""


def verdict(headline: Sequence[Ordering]) -> str:
    """What the headline comes to; intervals over networks decide."""
    measures = [o for o in headline if o.key and o.all.n]
    networks = max((o.all.n for o in measures), default=0)
    if networks < 2:
        return f"Of {len(measures)} measures nothing is sure: one network has no interval. Give two --seeds or more."
    right, wrong = [o for o in measures if o.all.low > 0.0], [o for o in measures if o.all.high < 0.0]
    told = (
        f"Of {len(measures)} measures {len(right)} put the methods more in the order of the truth than not, beyond the "
    )
    told += f"interval; {len(wrong)} in the reverse order; {len(measures) - len(right) - len(wrong)} say nothing sure. "
    return told + f"Intervals are over {networks} networks, which is few."


def sayings(headline: Sequence[Ordering], methods: Sequence[OfMethod]) -> list[str]:
    """Sentences about a study with a truth, without its verdict; those for which it lacks the figures are left out."""
    measures = [o for o in headline if o.key and o.all.n]
    if not measures:
        return []
    told = [f"First: {_listed(measures[:FEW])}. Last: {_listed(measures[-FEW:])}."]
    kept = sorted((o for o in measures if o.kept.n), key=lambda o: -o.kept.value)
    told += [f"Among the methods that keep the accuracy the first are {_kept(kept[:FEW])}."] if kept else []
    told += [
        f"The truth itself, measured again, gets {words(o.all)}, and {words(o.kept)} among the methods that keep the "
        "accuracy: no measure can be asked for more."
        for o in headline
        if not o.key and o.all.n
    ]
    better = "; ".join(o.title for o in measures if o.beyond.n and o.beyond.low > 0.0) or "none"
    told += [
        f"Plain accuracy, with the cue, gets {words(o.all)}. Better than that, beyond the interval: {better}."
        for o in measures
        if o.key == ACCURACY
    ]
    networks = max(o.all.n for o in measures)
    if networks > 1:
        always = "; ".join(o.title for o in measures if min(o.by_start) > 0.0) or "none"
        told.append(f"Of the right sign in every one of {networks} networks: {always}.")
        never = "; ".join(o.title for o in measures if max(o.by_start) < 0.0) or "none"
        told.append(f"Of the wrong sign in every one: {never}.")
    return told + _of_methods(methods)


def _of_methods(methods: Sequence[OfMethod]) -> list[str]:
    """What helps most by the truth, and what it costs."""
    there = {m.method: m.figures for m in methods if WITHOUT in m.figures}
    like = there.get(CONTROL, there.get(BEFORE))
    if like is None:
        return []
    order = sorted(there, key=lambda name: -there[name][WITHOUT].value)
    told = [
        f"{name}: {words(there[name][WITHOUT])} without the cue at {words(there[name][WITH])} with it"
        for name in order[:FEW]
    ]
    base = f"training without guidance: {words(like[WITHOUT])} at {words(like[WITH])}"
    always = [m.method for m in methods if m.helped and m.helped == m.figures[WITHOUT].n]
    return [
        f"What helps most is {'; '.join(told)}; {base}.",
        f"Better than training without guidance in every network: {', '.join(always) or 'no method'}.",
    ]


def _listed(found: Sequence[Ordering]) -> str:
    return "; ".join(f"{o.title} {words(o.all)}" for o in found)


def _kept(found: Sequence[Ordering]) -> str:
    return "; ".join(f"{o.title} {words(o.kept)}" for o in found)

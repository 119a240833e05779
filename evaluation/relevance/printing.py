"""What was found, in lines for a terminal."""

from __future__ import annotations

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.relevance.records import OfClass, Relevance

UNITS = 5
"""Of the strongest, those that are printed."""


def lines(found: Relevance) -> str:
    """A paragraph for each class, and before them what is left out of all."""
    words = [found.left_out.words] if found.left_out is not None else []
    return "\n\n".join([*words, *map(_of_class, found.classes)])


def _of_class(one: OfClass) -> str:
    said = [f"{one.name}: {len(one.rows)} images, {one.measured.conserved:.1%} of the relevance reaches them"]
    said.append("most relevance, in logits")
    said += [f"  {value:7.3f}  {one.called(unit)}" for unit, value in one.strongest(UNITS)]
    if one.agreements:
        said.append("rank correlation of the activation map with its unit's relevance, and with others'")
        for f in one.ranked:
            a = one.agreements[f.slot]
            said.append(
                f"  {_shown(a.correlation)} {_shown(a.other_correlation)}  {one.called(f.feature_index)}: {a.words}"
            )
    said.append(one.sorts)
    for number, cluster in enumerate(one.clusters, start=1):
        said.append(f"  cluster {number}: {len(cluster.items)} images, such as {one.image_ids[cluster.items[0]]}")
        for word, units in (("more", cluster.nominated), ("less", cluster.lacking)):
            said += [
                f"    {word} of {one.called(n.unit)}: {n.inside:.3f} here, {n.outside:.3f} in the others, "
                f"{n.effect:.1f} sd (chance {n.chance:.1f})"
                for n in units
            ]
    return "\n".join(said)


def _shown(e: Estimate) -> str:
    return f"{e.value:6.2f}" if e.n else "     -"

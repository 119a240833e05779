"""What was found, in lines for a terminal."""

from __future__ import annotations

from salient_imagenet_data.evaluation.relevance.agreement import Agreement
from salient_imagenet_data.evaluation.relevance.records import OfClass, Relevance

UNITS = 5
"""Of the strongest, those that are printed."""


def lines(found: Relevance) -> str:
    """A paragraph for each class."""
    return "\n\n".join(_of_class(one) for one in found.classes)


def _of_class(one: OfClass) -> str:
    said = [f"{one.name}: {len(one.rows)} images, {one.measured.conserved:.1%} of the relevance reaches them"]
    said.append("most relevance, in logits")
    said += [f"  {value:7.3f}  {one.called(unit)}" for unit, value in one.strongest(UNITS)]
    if one.agreements:
        said.append("activation maps against the relevance of their own unit, and of others")
        said += [f"  {_agreement(one.agreements[f.slot])}  {one.called(f.feature_index)}" for f in one.ranked]
    said.append(one.sorts)
    for number, cluster in enumerate(one.clusters, start=1):
        said.append(f"  cluster {number}: {len(cluster.items)} images, such as {one.image_ids[cluster.items[0]]}")
        for n in cluster.nominated:
            said.append(
                f"    look at {one.called(n.unit)}: {n.inside:.3f} here, {n.outside:.3f} in the others, "
                f"{n.effect:.1f} sd (chance {n.chance:.1f})"
            )
    return "\n".join(said)


def _agreement(a: Agreement) -> str:
    def shown(value: float, n: int) -> str:
        return f"{value:5.2f}" if n else "    -"

    own, other = a.correlation, a.other_correlation
    return f"{shown(own.value, own.n)} {shown(other.value, other.n)}  {a.words};"

"""What `score_discovery` found, in lines of text."""

from __future__ import annotations

from salient_imagenet_data.errors import some
from salient_imagenet_data.evaluation.claims.scoring import LEVEL, MATCH, Discovery
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.imagenet import display_name
from salient_imagenet_data.store.describing import in_columns


def lines(found: Discovery) -> str:
    """Counts, recall and precision by region with their chance, each class, and the table of words."""
    rows = [f"{found.claims} claims, {found.with_regions} with regions"]
    if found.unknown_classes:
        rows.append(f"left out: claims about classes that the store has not: {some(found.unknown_classes)}")
    if found.unknown_images:
        rows.append(f"left out: {found.unknown_images} regions on images that the store does not have in the class")
    rows += _regions(found) if found.with_regions else ["by region: no claim has one"]
    return "\n".join([*rows, *_words(found)])


def _regions(found: Discovery) -> list[str]:
    if found.not_covered:
        rows = [f"left out: {found.not_covered} spurious features, of whose top images no claim speaks"]
    else:
        rows = []
    table: list[tuple[str, ...]] = [("by region", "of", "value", "other classes", "beyond")]
    for name, own, chance, beyond in (
        ("recall", found.recall, found.chance_recall, found.recall_beyond),
        ("precision", found.precision, found.chance_precision, found.precision_beyond),
    ):
        n = "" if own is None else str(own.n)
        table.append((name, n, *map(_estimate, (own, chance, beyond))))
    rows.append(in_columns(table))
    rows.append(
        f"a claim finds a feature at a mean IoU of {MATCH:g} or more with its maps, cut at {LEVEL:g} of their peak; "
        "other classes: the same claims assigned to them"
    )
    if found.not_asked:
        rows.append(f"{found.not_asked} spurious features are of classes without regions, and not asked about")
    table = [("class", "recall", "precision", "best IoU of each spurious feature")]
    for of in found.classes:
        best = ", ".join(f"{f.iou:.2f}" for f in found.features if f.class_name == of.class_name)
        table.append((display_name(of.class_name), _counts(of.recall), _counts(of.precision), best or "none"))
    return [*rows, in_columns(table)]


def _words(found: Discovery) -> list[str]:
    words = found.words
    if not words.features:
        return ["by words: no spurious feature with reasons is of a class with claims in words"]
    beside = "" if words.elsewhere is None else f"; with another class's claims {words.elsewhere:.1f} would"
    rows = [
        f"by words, to be judged by people: {words.alike} of {len(words.features)} spurious features share a word with "
        f"a claim of their class{beside}"
    ]
    if words.without_reasons:
        rows.append(f"left out: {words.without_reasons} spurious features without reasons")
    table: list[tuple[str, ...]] = [("class", "feature", "people", "claims", "alike")]
    for f in words.features:
        cells = ("; ".join(f.reasons), "; ".join(f.claims), ", ".join(f.alike))
        table.append((display_name(f.class_name), str(f.feature_index), *cells))
    return [*rows, in_columns(table)]


def _estimate(estimate: Estimate | None) -> str:
    return "none" if estimate is None else estimate.words


def _counts(estimate: Estimate | None) -> str:
    return "none" if estimate is None else f"{round(estimate.value * estimate.n)}/{estimate.n} {estimate.interval}"

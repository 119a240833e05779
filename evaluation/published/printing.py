"""What tables of published results say of the models of a board, in lines of text."""

from __future__ import annotations

from salient_imagenet_data.evaluation.published.robustness import Published
from salient_imagenet_data.store.describing import in_columns


def lines(found: Published) -> str:
    """Each line with what was left out, which models have results, and the rank correlations."""
    rows = [expectation.words for expectation in found.expectations]
    table: list[tuple[str, ...]] = [("model", "published", "set", "accuracy", "expected", "effective robustness")]
    for ours, model in found.joined.items():
        for name, on in model.on.items():
            figures = (f"{on.shifted:.3f}", f"{on.expected:.3f}", on.effective.words)
            table.append((ours, model.published, name, *figures))
    if found.joined:
        rows.append(in_columns(table))
    rows += [f"{ours}: {model.note}" for ours, model in found.joined.items() if model.note]
    rows += [f"without a published result: {ours}: {why}" for ours, why in found.left_out.items()]
    rows += [f"without a published result on {', '.join(sets)}: {ours}" for ours, sets in found.partly.items()]
    if found.few:
        rows.append(found.few)
    if found.given:
        table = [("rank correlation with effective robustness", "set", "models", "value")]
        table += [
            (c.figure, c.name, str(c.models), "one value for all" if c.estimate is None else c.estimate.words)
            for c in found.given
        ]
        rows.append(in_columns(table))
    return "\n".join(rows)

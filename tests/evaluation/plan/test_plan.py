"""Which images and conditions are planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.plan.plan import Conditions, rows_in, spuriosity_ends
from salient_imagenet_data.evaluation.plan.regions import top_images
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.ranking.spuriosity import spuriosity
from salient_imagenet_data.store.reading import Store
from tests.evaluation.runs import run, sensitive


def test_trap_images_without_such_a_feature_do_not_count(store: Store) -> None:
    core, spurious = top_images(store)
    assert {store.rows[r].label for r in spurious.rows} == set(range(1, 10))
    assert {store.rows[r].label for r in core.rows} == {0, *range(2, 10)}
    for region in (core, spurious):
        for row in region.rows:
            top = store.chosen(int(row), region.name, top_only=True)  # type: ignore[arg-type]
            assert top.any() and np.array_equal(region.chosen[row], top)


def test_a_fold_is_evaluated_by_itself(store: Store, images: Path, tmp_path: Path) -> None:
    """Its images, its spuriosity ranking, and a predictions file that says so."""
    parts = [Fold(1, 2), Fold(2, 2)]
    plans = [Conditions(("iclr2022", "spuriosity2023"), (0.5,)).plan(store, fold) for fold in parts]
    whole = Conditions(("iclr2022", "spuriosity2023"), (0.5,)).plan(store)
    ids = store.rows.image_ids.to_pylist()
    for fold, plan in zip(parts, plans, strict=True):
        assert set(plan.rows) <= set(np.flatnonzero(fold.holds(ids))) and len(plan.rows) > 5
        for name, region in plan.regions.items():
            assert set(region.rows) == set(whole.regions[name].rows) & set(np.flatnonzero(fold.holds(ids)))
    file = run(store, images, tmp_path / "a.parquet", plans[0])
    result = score(file, store)
    found = spuriosity_ends(store, rows_in(store, parts[0]))
    labels = store.rows.labels.astype(np.int64)
    mine = np.flatnonzero(parts[0].holds(ids))
    for label in np.unique(found.labels):
        rows = mine[labels[mine] == label]
        k = len(rows) // 2
        scores = spuriosity(store.activations[rows], labels[rows], store.kind_table["spurious"])
        order = rows[np.argsort(scores, kind="stable")]
        assert found.bottom[found.labels == label].tolist() == order[:k].tolist()
        assert found.top[found.labels == label].tolist() == order[len(rows) - k :].tolist()
    assert result.spurious_gap is not None
    assert result.fold == "1/2" and result.spurious_gap.n == 2 * len(found.top)
    with pytest.raises(SalientError, match="made by another run; fold differs; expected 2/2; got 1/2"):
        run(store, images, tmp_path / "a.parquet", plans[1])
    direct = evaluate(
        sensitive, store, FolderSource(images), Conditions(protocols=("spuriosity2023",)), Settings(fold=parts[0])
    )
    assert direct.spurious_gap == result.spurious_gap and direct.fold == "1/2"

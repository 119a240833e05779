"""Groups in lines: sizes by class, at most so many, and what other data has that is not here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from salient_imagenet_data.evaluation.numbers.groups import Groups, Rule
from salient_imagenet_data.evaluation.plan.plan import rows_in
from salient_imagenet_data.evaluation.report import grouped
from salient_imagenet_data.evaluation.report.grouped import figures_words, sizes_words, table_of
from salient_imagenet_data.evaluation.score.grouping import groups_in
from salient_imagenet_data.folds import WHOLE
from salient_imagenet_data.store.reading import Store
from tests.evaluation.results import grouped as figures


def test_classes_that_are_not_printed_are_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = groups_in(store, rows_in(store, WHOLE))
    lines = sizes_words(groups, store).splitlines()
    assert lines[3] == f"{'class':<28} {'images':>7} {'shown':>7} {'hidden':>7}" and len(lines) == 4 + 9
    assert lines[4].startswith(store.class_names[1]) and not any("more classes" in line for line in lines)
    monkeypatch.setattr(grouped, "LINES", 4)
    assert sizes_words(groups, store).splitlines()[-1] == "and 5 more classes"


def test_a_group_without_images_is_a_zero_and_uneven_sizes_are_a_range(store: Store) -> None:
    labels = np.array([1, 1, 1, 2, 0])
    scores, shown = np.array([0.1, 0.2, 0.3, 0.4, np.nan]), np.array([False, True, True, False, False])
    text = sizes_words(Groups(Rule(None), scores, labels, shown, store.has("spurious")), store)
    assert text.startswith(
        "5 images: 3 groups of 2 classes, 1 to 2 images each; 1 images of classes without a spurious "
    )
    assert text.splitlines()[-1].split()[-3:] == ["1", "0", "1"] and text.splitlines()[1] == Rule(None).words


def test_figures_of_a_model_and_its_worst_groups(store: Store) -> None:
    lines = figures_words("m", figures(0.7, 0.9, 0.4, 0.8), store, worst=2).splitlines()
    assert lines[0] == "m: 4 groups" and lines[1].split("  ")[-1].strip() == "0.400 [0.350, 0.450] n = 100"
    assert (
        lines[-2].startswith(f"    {store.class_names[1]}, cue hidden") and "0.400 [0.350, 0.450] n = 100" in lines[-2]
    )
    assert lines[-1].startswith(f"    {store.class_names[0]}, cue hidden") and len(lines) == 6
    other = replace(figures(0.7, 0.9, adjusted=0.8), absent=0.25)
    text = figures_words("m", other, store)
    assert "mean of groups weighed as in other data  0.800 [0.750, 0.850] n = 100" in text
    assert "25.0% of the other data are in groups without an image here, and left out" in text


def test_names_with_commas_stay_one_cell(store: Store) -> None:
    groups = groups_in(store, rows_in(store, WHOLE))
    head, first, *_ = table_of(groups.at(np.array([5])), np.array([5]), store).splitlines()
    assert head == "image_id,label,class_name,spuriosity,cue"
    record = store.rows[5]
    assert first.startswith(f"{record.image_id},{record.label},{store.class_names[record.label]},")

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.evaluation.run.predictions import (
    Answers,
    concatenated,
    from_probabilities,
    read_predictions,
    to_table,
    write_tables,
)

P = np.array([[0.2, 0.5, 0.3], [0.25, 0.25, 0.5]], dtype=np.float32)


def answers(top_k: int | None = None) -> Answers:
    return from_probabilities(["a", "b"], P, np.array([2, 0]), top_k)


def test_top_k_keeps_what_scoring_needs(tmp_path: Path) -> None:
    full, top = answers(), answers(2)
    assert full.classes.tolist() == [[1, 2, 0], [2, 0, 1]] and top.classes.tolist() == [[1, 2], [2, 0]]
    assert top.label_probability is not None and top.label_probability.tolist() == pytest.approx([0.3, 0.25])
    assert top.square_sum is not None and top.square_sum.tolist() == pytest.approx([0.38, 0.375])
    write_tables(tmp_path / "m.parquet", [to_table("clean", top, {}), to_table("noise_0.5@core", full, {})], {"a": 1})
    file = read_predictions(tmp_path / "m.parquet", 3)
    assert file.model == "m" and file.metadata == {"a": 1} and list(file.conditions) == ["clean", "noise_0.5@core"]
    for name, made in (("clean", top), ("noise_0.5@core", full)):
        read = file.conditions[name]
        assert read.image_ids == made.image_ids and np.array_equal(read.classes, made.classes)
        assert np.array_equal(read.probabilities, made.probabilities)
        assert read.square_sum is not None and np.array_equal(read.square_sum, made.square_sum)
    assert not list(tmp_path.glob("*.partial"))


def test_concatenated_drops_a_column_that_a_part_lacks() -> None:
    bare = Answers(("c",), np.array([[0]], dtype=np.int32), np.array([[0.9]], dtype=np.float32))
    one = answers(1)
    assert concatenated([one, bare]).label_probability is None
    both = concatenated([one, one])
    assert both.image_ids == ("a", "b", "a", "b") and both.label_probability is not None


def foreign(path: Path, rows: list[tuple[str, str, list[int], list[float]]]) -> Path:
    columns = ("image_id", "condition", "classes", "probabilities")
    pq.write_table(pa.table({c: [row[i] for row in rows] for i, c in enumerate(columns)}), path)
    return path


def test_other_peoples_file_with_other_types(tmp_path: Path) -> None:
    path = foreign(
        tmp_path / "theirs.parquet", [("a", "clean", [1, 0], [0.75, 0.25]), ("b", "clean", [0, 1], [1.0, 0.0])]
    )
    file = read_predictions(path, 2)
    assert file.model == "theirs" and file.conditions["clean"].predicted.tolist() == [1, 0]
    full = file.conditions["clean"].with_label(np.array([0, 0]), 2)
    assert full.label_probability is not None and full.label_probability.tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "clean", [5], [0.5]), "class outside the data set; expected 0 to 2; got 5"),
        (("a", "clean", [-1], [0.5]), "class outside the data set; expected 0 to 2; got -1"),
        (("a", "clean", [0, 0], [0.5, 0.2]), "a class occurs twice in one row"),
        (("a", "clean", [0, 1], [0.2, 0.5]), "not sorted; expected the most probable class first"),
        (("a", "clean", [0, 1], [0.9, 0.5]), "not probabilities"),
        (("a", "clean", [0], [float("nan")]), "not probabilities"),
        (("a", "clean", [0], [0.5, 0.4]), "classes and probabilities differ in number"),
        (("a", "clean", [], []), "lists of different length"),
        (("a", "clean", [None], [0.5]), "empty values in a list"),
    ],
)
def test_bad_rows_are_named(row: tuple[str, str, list[int], list[float]], message: str, tmp_path: Path) -> None:
    path = foreign(tmp_path / "p.parquet", [row])
    with pytest.raises(SalientError, match=f"p.parquet.*{message}"):
        read_predictions(path, 3)


def test_bad_files_are_named(tmp_path: Path) -> None:
    twice = foreign(tmp_path / "twice.parquet", [("a", "clean", [0], [0.5])] * 2)
    with pytest.raises(SalientError, match="an image occurs twice"):
        read_predictions(twice, 3)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(SalientError, match="text.parquet: not a predictions file; expected Parquet"):
        read_predictions(tmp_path / "text.parquet", 3)
    pq.write_table(pa.table({"image_id": ["a"], "condition": ["clean"]}), tmp_path / "short.parquet")
    with pytest.raises(SalientError, match="columns are missing.*got no classes"):
        read_predictions(tmp_path / "short.parquet", 3)


@pytest.mark.parametrize("k", [1, 3, 7, 8])
def test_the_top_k_is_the_head_of_a_stable_sort(k: int) -> None:
    """Values of few levels, so that ties are everywhere, also at the end of the list."""
    p = np.random.default_rng(k).integers(0, 4, (200, 8)).astype(np.float32) / 32
    answers = from_probabilities([str(i) for i in range(200)], p, np.zeros(200, dtype=np.int64), k)
    assert np.array_equal(answers.classes, np.argsort(-p, axis=1, kind="stable")[:, :k])
    assert np.array_equal(answers.probabilities, np.take_along_axis(p, answers.classes, axis=1))


@pytest.mark.parametrize(
    "name",
    [
        "noise_0.25@core",
        "fill_gray@core_dilated15_random",
        "blur_10@rank_2",
        "tile@spurious_other",
        "shuffle#3@foreground_other",
    ],
)
def test_condition_names_round_trip(name: str) -> None:
    assert Condition.parse(name).name == name


def test_condition_parts() -> None:
    assert Condition.parse("noise_0.5@not_core_dilated15_other") == Condition(
        "noise_0.5", "not_core_dilated15", "other"
    )
    assert Condition.parse("noise_1e-05@core").sigma == 1e-5 and Condition.parse("noise_l2_3@core").sigma is None
    with pytest.raises(SalientError, match="condition 'noisy' is not understood"):
        Condition.parse("noisy")


def test_a_level_is_noise_of_a_finite_standard_deviation_only() -> None:
    levels = {"noise_0.250": 0.25, "noise_0": 0.0, "noise_1e999": None, "blur_3": None, "theirs": None}
    for corruption, level in levels.items():
        assert Condition(corruption, "core").sigma == level, corruption
    assert Condition("noise_0.250", "core").canonical.name == "noise_0.25@core"
    assert Condition("theirs", "core", "random").canonical.name == "theirs@core_random"


def test_two_names_of_one_condition_do_not_collapse(tmp_path: Path) -> None:
    """A curve has one accuracy a level: the second name's would silently take the place of the first's."""
    rows = [("a", name, [0], [0.9]) for name in ("clean", "noise_0.25@core", "noise_0.250@core")]
    path = foreign(tmp_path / "theirs.parquet", rows)
    with pytest.raises(
        SalientError, match=r"two names.*noise_0.25@core once; got noise_0.25@core and noise_0.250@core"
    ):
        read_predictions(path, 3)
    distinct = [*rows[:2], ("a", "noise_0.250@core_random", [0], [0.9]), ("a", "noise_0.250@spurious", [0], [0.9])]
    assert len(read_predictions(foreign(tmp_path / "b.parquet", distinct), 3).conditions) == 4
    jpeg = [rows[0], *(("a", f"jpeg_{q}@core", [0], [0.9]) for q in ("90", "090"))]
    with pytest.raises(SalientError, match="two names of one condition"):
        read_predictions(foreign(tmp_path / "c.parquet", jpeg), 3)

"""Tables as timm writes them, and what is held against what."""

from __future__ import annotations

from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.published.tables import Key, Table, in_words, read_table, shifts

HEADER = "model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation"
MORE = HEADER + ",top1_diff,top5_diff,rank_diff"


def written(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def row(model: str, top1: float, size: int = 224, more: str = "") -> str:
    """As timm's: parameters above a thousand millions stand in quotes, with a comma."""
    return f'{model},{top1:.3f},{100 - top1:.3f},99.000,1.000,"1,014.45",{size},1.000,bicubic{more}'


def table(of: str, **top1: float) -> Table:
    return Table(Path(f"results-{of}.csv"), of, {Key(model, 224): value for model, value in top1.items()}, ())


def test_a_table_is_read_by_its_columns_and_called_by_its_file(tmp_path: Path) -> None:
    lines = (row("b.in1k", 74.83), row("a.in1k", 90.0, 448, ",-3,-1,+18"), row("a.in1k", 88.0, 336))
    path = written(tmp_path / "results-imagenet-a.csv", *lines, header="\ufeff" + MORE)
    found = read_table(path)
    assert (found.of, found.ambiguous) == ("imagenet-a", ())
    expected = {Key("b.in1k", 224): 0.7483, Key("a.in1k", 448): 0.9, Key("a.in1k", 336): 0.88}
    assert found.top1 == pytest.approx(expected)
    plain = read_table(written(tmp_path / "results-own.csv", "a,0", "b,100", header="model,top1"))
    assert plain.top1 == {Key("a", None): 0.0, Key("b", None): 1.0}


def test_a_model_with_two_results_at_one_size_is_left_out_and_counted(tmp_path: Path) -> None:
    lines = (row("a", 50), row("a", 51), row("b", 60), row("b", 60), row("c", 70), row("c", 71, 288))
    found = read_table(written(tmp_path / "results-imagenet.csv", *lines))
    assert set(found.top1) == {Key("b", 224), Key("c", 224), Key("c", 288)} and found.ambiguous == ("a",)
    (shift,) = shifts([found, table("sketch", b=0.2)])
    assert in_words(shift).endswith("1 model in both tables, left out 1 model with two results at one size")


def test_what_is_no_table_is_one_line(tmp_path: Path) -> None:
    cases = {
        "benchmark.csv": (
            [],
            "the name does not say what was measured; expected as timm's, such as results-imagenet-a",
        ),
        "results-.csv": ([], "the name does not say"),
        "results-a.csv": (["model,top5", "a,1"], "no column top1; expected model, top1 .*got model, top5"),
        "results-b.csv": (["model,top1", "a,"], "line 2: top1; expected a percentage; got ''"),
        "results-c.csv": (["model,top1", "a,1", "a,nan"], "line 3: top1; expected a percentage; got 'nan'"),
        "results-d.csv": (["model,top1", "a,100.1"], "line 2: top1"),
        "results-e.csv": (["model,top1", ",1"], "line 2: no model"),
        "results-f.csv": (["model,top1,img_size", "a,1,big"], "line 2: img_size; expected a whole number; got big"),
        "results-g.csv": (["model,top1"], "no results"),
        "results-h.csv": ([], "no column model; .*got no header"),
    }
    for name, (lines, words) in cases.items():
        (tmp_path / name).write_text("\n".join(lines))
        with pytest.raises(SalientError, match=rf"{name}.*{words}"):
            read_table(tmp_path / name)
    with pytest.raises(SalientError, match=r"results-x\.csv: no such file"):
        read_table(tmp_path / "results-x.csv")


def test_models_are_joined_by_name_and_size_never_by_place() -> None:
    clean = Table(Path("b"), "imagenet", {Key("a", 224): 0.7, Key("b", 224): 0.8, Key("b", 288): 0.82}, ())
    moved = {Key("b", 288): 0.3, Key("c", 224): 0.9, Key("a", 224): 0.2, Key("a", 288): 0.4}
    (shift,) = shifts([clean, Table(Path("s"), "sketch", moved, ("z",))])
    assert shift.pairs == {Key("b", 288): (0.82, 0.3), Key("a", 224): (0.7, 0.2)} and shift.only == 2
    assert in_words(shift) == (
        "ImageNet-Sketch against ImageNet: 2 models in both tables, 2 only in that of ImageNet-Sketch, "
        "left out 1 model with two results at one size"
    )


def test_a_set_of_some_classes_is_held_against_these_classes_where_their_table_is_given() -> None:
    base, part = table("imagenet", m=0.7), table("imagenet-a-clean", m=0.9)
    moved = [table("imagenet-a", m=0.1), table("imagenetv2-matched-frequency", m=0.6)]
    of = {shift.name: (shift.against, shift.part, *shift.pairs.values()) for shift in shifts([*moved, part, base])}
    assert of == {
        "ImageNet-A": ("the classes of ImageNet-A in ImageNet", True, (0.9, 0.1)),
        "ImageNetV2": ("ImageNet", False, (0.7, 0.6)),
    }
    (alone,) = shifts([moved[0], base])
    assert (alone.against, alone.part, alone.pairs) == ("ImageNet", False, {Key("m", 224): (0.7, 0.1)})
    with pytest.raises(SalientError, match=r"nothing without the shift .* also results-imagenet\.csv"):
        shifts(moved)
    with pytest.raises(SalientError, match="no table of a shifted set among the results; .*; got imagenet"):
        shifts([base])
    with pytest.raises(SalientError, match="two tables of ImageNet; got results-imagenet"):
        shifts([base, base, *moved])
    with pytest.raises(SalientError, match="two tables of ImageNetV2; got results-imagenetv2.* and results-inv2"):
        shifts([base, *moved, table("inv2-matched-frequency", m=0.5)])
    with pytest.raises(SalientError, match="have no model at one size in common"):
        shifts([base, table("sketch", other=0.2)])

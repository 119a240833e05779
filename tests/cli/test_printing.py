"""What commands print of figures, by value; what they say where something stops them."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from salient_imagenet_data.cli import _place, cli, main
from salient_imagenet_data.cli.commands import fold_of, numbers, tell
from salient_imagenet_data.cli.images import tell_classes
from salient_imagenet_data.cli.official import _grid, _summary
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


def test_score_prints_a_table_or_json_and_writes_a_page_where_asked(
    report: Path, store: Store, images: Path, tmp_path: Path, run: Run
) -> None:
    file = report / "predictions" / "linear-one.parquet"
    code, out, err = run("score", store.path, file)
    assert code == 0 and err == "" and out.splitlines()[-1].startswith("accuracies are means") and "RFS, noise 1" in out
    code, out, err = run("score", store.path, file, "--json", "--out", tmp_path / "r", "--images", images)
    assert err == f"wrote {tmp_path / 'r' / 'index.html'}\n"
    found = json.loads(out)["linear one"]
    assert (
        "protocols" not in found
        and next(iter(found)) == "weights_sha256"
        and out.startswith('{\n  "linear one": {\n    "')
    )
    assert "data:image/png" in (tmp_path / "r" / "index.html").read_text()
    code, out, _ = run("leaderboard", tmp_path)
    assert out == f"wrote {tmp_path / 'leaderboard.html'}: 1 models\n"
    code, out, _ = run("leaderboard", tmp_path, "--out", tmp_path / "own.html")
    assert out == f"wrote {tmp_path / 'own.html'}: 1 models\n" and (tmp_path / "own.html").is_file()


def test_info_prints_names_in_one_column_and_json_all_of_it(store: Store, bare_store: Store, run: Run) -> None:
    code, out, _ = run("info", store.path)
    lines = {line.partition("  ")[0]: line for line in out.splitlines()}
    assert code == 0 and lines["features"] == "features            core 20, spurious 20, without_answers 0"
    assert lines["class_names"] == "class_names         10" and lines["images"] == "images              40"
    found = json.loads(run("info", store.path, "--json")[1])
    assert found["class_names"] == list(store.class_names) and found["files"] == len(store.manifest.files)
    code, out, _ = run("info", bare_store.path)
    assert "classes_with_masks  not annotated yet, so no masks\n" in out
    assert "features            core 0, spurious 0, without_answers 40\n" in out
    assert run("info", store.path, "--json")[1].startswith('{\n  "')
    assert json.loads(run("info", bare_store.path, "--json")[1])["classes_with_masks"] in ({}, None)


def test_verify_counts_the_files_and_compare_holds_a_store_against_itself(store: Store, run: Run) -> None:
    said = f"{store.path}: {len(store.manifest.files)} files, all as the manifest says\n"
    assert run("verify", store.path) == (0, said, "")
    code, out, _ = run("compare", store.path, store.path)
    assert code == 0 and not out.startswith("{")
    out = run("compare", store.path, store.path, "--json")[1]
    assert out.startswith('{\n  "') and isinstance(json.loads(out), dict)


def test_apply_says_what_it_left_out(bare_store: Store, answers_file: Path, tmp_path: Path, run: Run) -> None:
    copy = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    (tmp_path / "a.csv").write_text(answers_file.read_text() + "late,bar,0,1,1,,,\nlater,bar,0,1,1,,,\n")
    code, out, err = run("apply", copy, tmp_path / "a.csv")
    assert (code, out) == (0, "20 core, 20 spurious, 0 without answers\n")
    assert err == f"2 rows of {tmp_path / 'a.csv'} have no answer and are left out\n"
    assert run("apply", copy, answers_file)[2] == ""


@pytest.mark.parametrize(("text", "found"), [("7x7", (7, 7)), ("14x3", (14, 3)), ("9999x1", (9999, 1)), ("full", None)])
def test_a_grid_is_height_and_width(text: str, found: tuple[int, int] | None) -> None:
    assert _grid(text) == found


@pytest.mark.parametrize("text", ["7", "tall", "7X7", "0x7", "7x0", "7x7x7", "10000x1", "", "-1x7"])
def test_a_grid_that_is_none_is_said(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected HEIGHTxWIDTH or full"):
        _grid(text)


def imported(origin: dict[str, Any], answers: str | None = "a" * 64) -> Any:
    plain = {"masks": 7, "classes_absent": 0, "columns_passed_over": 0, "files_not_listed": 0}
    manifest = SimpleNamespace(images=5, quarantined=2, origin=plain | origin, grid=(7, 9), annotations_sha256=answers)
    return SimpleNamespace(manifest=manifest, features=(1, 2, 3))


def test_an_import_says_what_it_took_and_what_it_left() -> None:
    first = "wrote s: 5 images, 3 features, 7 masks, 2 in quarantine"
    assert _summary(imported({}), "s") == first
    error = {
        "pool": 32,
        "mean": 0.001,
        "max": 0.25,
        "worst": "a.png",
        "whole_masks": 9,
        "whole_mean": 0.5,
        "whole_max": 1,
    }
    left = {"classes_absent": 1, "columns_passed_over": 2, "files_not_listed": 3, "grid_error": error}
    assert _summary(imported(left, None), "s").splitlines() == [
        first,
        "1 classes of wordnet_dict.py have no folder",
        "2 columns of the lists are of no feature and were passed over",
        "3 files are in no list and were left aside",
        "reduced to 7x9; error of means of 32x32 pixels: mean 0.00100, greatest 0.25000 of 1 (a.png); of all pixels of 9 "
        "masks: mean 0.50000, greatest 1.00000",
        "next: salient-imagenet apply s ANSWERS.csv",
    ]
    assert _summary(imported({}, None), "my s").endswith("next: salient-imagenet apply 'my s' ANSWERS.csv")
    assert "of 1; of all" in _summary(imported({"grid_error": {**error, "worst": ""}}), "s")


@pytest.mark.parametrize("count", [1, 12, 13, 14])
def test_classes_are_counted_aloud_up_to_twelve(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    tell_classes(SimpleNamespace(class_names=tuple(f"c{i}" for i in range(count))))  # type: ignore[arg-type]
    first = ", ".join(f"{i} = c{i}" for i in range(min(count, 12)))
    end = {13: ", ..., 12 = c12", 14: ", ..., 13 = c13"}.get(count, "")
    assert capsys.readouterr().err == f"the weights name no classes; they are counted as {first}{end}\n"


def test_numbers_and_folds_of_an_option() -> None:
    assert numbers("1,2.5", float, "--sigma") == (1.0, 2.5) and fold_of("2/3") == Fold.parse("2/3")
    with pytest.raises(click.BadParameter, match="expected numbers with commas between, got '1;2'"):
        numbers("1;2", int, "--widths")


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["build", "--out", "s", "x"], "s"),
        (["build", "x", "--out=s"], "s"),
        (["verify", "--json", "x", "y"], "x"),
        (["demo"], "demo"),
        (["demo", "--json"], "demo"),
        (["explore", "s", "--static", "t"], "t"),
        (["explore", "s", "--space=t"], "t"),
        ([], ""),
        (["build", "--out"], ""),
    ],
)
def test_trouble_without_a_name_is_told_with_the_place_of_work(arguments: list[str], place: str) -> None:
    assert _place(arguments) == place


@pytest.mark.parametrize(
    ("trouble", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (click.Abort(), 130, "Stopped.\n"),
        (
            UnicodeEncodeError("utf-8", "a\udcf6", 1, 2, "surrogates not allowed"),
            2,
            "Error: a\\udcf6: a name that is no UTF-8, which some libraries refuse; rename it\n",
        ),
        (click.ClickException("no luck"), 1, "Error: no luck\n"),
        (OSError(28, "No space left", "there/x"), 2, "Error: there/x: No space left\n"),
        (OSError("odd"), 2, "Error: some/store: odd\n"),
        (click.exceptions.Exit(3), 3, ""),
    ],
)
def test_whatever_stops_a_command_is_one_line_and_a_status(
    trouble: BaseException, status: int, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(cli.commands["verify"], "callback", stop)
    code, out, err = run("verify", "some/store")
    assert (code, out, err.lstrip("\n")) == (status, "", said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("build --images a --weights b --out c", "Stopped. Run the same command with --resume to go on."),
        ("train --images a --from=timm:b --out c", "Stopped. Run the same command with --resume to go on."),
        ("train --images a --out c", "Stopped."),  # a small network is trained anew
        ("evaluate a --images b --out=c", "Stopped. Run the same command again to go on."),
        ("evaluate a --images b", "Stopped."),
        ("study --out c", "Stopped. Run the same command again to go on."),
    ],
)
def test_a_stopped_command_says_how_it_goes_on_if_it_can(
    words: str, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands[words.split()[0]], "callback", stop)
    code, _, err = run(*words.split())
    assert (code, err.strip()) == (130, said)


def test_wrong_words_end_in_a_line_that_names_the_help(run: Run) -> None:
    code, out, err = run("verify")
    assert (code, out) == (2, "") and err == "Error: Missing argument 'STORE'; see `salient-imagenet verify -h`\n"
    assert run("verify", "-h")[0] == 0 and run("--version")[0] == 0
    code, _, err = run("nonsense")
    assert (
        code == 2
        and err.startswith("Error: No such command 'nonsense'")
        and err.endswith("see `salient-imagenet -h`\n")
    )
    code, out, err = run()
    assert code == 2 and "Build masks:" in out + err and "Error" not in out + err


def test_trouble_of_a_command_with_two_places_is_told_with_the_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise OSError("odd")

    monkeypatch.setattr(cli.commands["compare"], "callback", stop)
    assert run("compare", "one", "two") == (2, "", "Error: one: odd\n")


def test_what_the_terminal_cannot_write_is_written_as_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    written = [io.BytesIO(), io.BytesIO()]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written[0], encoding="latin-1"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written[1], encoding="latin-1"))

    def say(*_: object, **__: object) -> None:
        click.echo("3 \u20ac")
        tell("4 \u20ac")

    monkeypatch.setattr(cli.commands["verify"], "callback", say)
    monkeypatch.setattr(sys, "argv", ["salient-imagenet", "verify", "some/store"])
    with pytest.raises(SystemExit) as caught:
        main()
    sys.stdout.flush()
    sys.stderr.flush()
    assert caught.value.code == 0 and [w.getvalue() for w in written] == [b"3 \\u20ac\n", b"4 \\u20ac\n"]

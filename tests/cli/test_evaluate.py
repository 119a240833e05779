from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.evaluation.plan.protocols import PROTOCOLS
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run, answers_for

MODELS = """
import torch
def good():
    return lambda x: torch.stack([x.mean((1, 2, 3)) * k for k in range(10)], dim=1)
def seven():
    return lambda x: torch.zeros(len(x), 7)
def smaller():
    from salient_imagenet_data.geometry import Preprocessing
    model = good()
    model.preprocessing = Preprocessing(48, 40)
    return model
"""


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A module with models in `tmp_path`, where the commands run."""
    (tmp_path / "cli_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    sys.modules.pop("cli_models", None)


def test_evaluate_score_and_leaderboard(store: Store, images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    models = ["--model", "cli_models:good", "--model", "cli_models:seven", "--model", "cli_models:absent"]
    evaluate = ["evaluate", store.path, "--images", images, *models, "--out", tmp_path / "a"]
    code, out, err = run(*evaluate)
    assert code == 1 and "core accuracy, noise 0.25" in out and "noise 0.25 on the spurious pixels: " in out
    assert "cli_models:seven: failed: model's output does not fit the store; expected (batch, 10) logits" in err
    assert "cli_models:absent: failed: model cli_models:absent cannot be imported" in err and "Traceback" not in err
    (file,) = (tmp_path / "a" / "predictions").glob("*.parquet")
    before = file.stat().st_mtime_ns
    assert run(*evaluate)[0] == 1 and file.stat().st_mtime_ns == before
    code, out, err = run("score", store.path, file, "--out", tmp_path / "b", "--json")
    assert code == 0
    ours, scored = (json.loads((tmp_path / d / "report.json").read_text())["models"] for d in "ab")
    assert ours == scored == [{k: v for k, v in json.loads(out)["cli_models:good"].items() if k != "weights_sha256"}]
    shutil.rmtree(tmp_path / "b")
    code, _, _ = run("evaluate", store.path, "--images", images, "--weights", weights, "--out", tmp_path / "c")
    assert code == 0
    code, out, _ = run("leaderboard", tmp_path)
    assert code == 0 and "leaderboard.html: 2 models" in out and (tmp_path / "leaderboard.html").is_file()


def test_every_model_failing_is_exit_status_two(store: Store, images: Path, run: Run) -> None:
    code, out, err = run("evaluate", store.path, "--images", images, "--model", "cli_models:seven")
    assert code == 2 and out == "" and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --model SPEC, --weights FILE, or both"),
        (("--model", "a:b", "--weights", "x", "--weights", "y"), "give one --weights for each --model"),
        (("--model", "a:b", "--model", "a:b"), "a:b is given twice"),
        (("--model", "a:b", "--sigma", "x"), "expected numbers with commas"),
    ],
)
def test_wrong_options(arguments: tuple[str, ...], message: str, store: Store, images: Path, run: Run) -> None:
    code, _, err = run("evaluate", store.path, "--images", images, *arguments)
    assert code == 2 and message in err and err.count("\n") == 1
    assert err.startswith("Error: ") and err.endswith("; see `salient-imagenet evaluate -h`\n") == (
        "--sigma" in arguments
    )


def test_bad_input_is_one_line(store: Store, tmp_path: Path, run: Run) -> None:
    (tmp_path / "p.parquet").write_text("no")
    for arguments, message in (
        (("score", store.path, tmp_path / "p.parquet"), "p.parquet: not a predictions file"),
        (("score", store.path, tmp_path / "q.parquet"), "q.parquet: no such file"),
        (
            ("export", store.path, "--out", tmp_path / "e", "--repo", "no name"),
            "repo is no name on the Hub; expected org/",
        ),
        (("leaderboard", tmp_path / "nowhere"), "nowhere: not a folder"),
        (("leaderboard", tmp_path), "no evaluation in it"),
    ):
        code, out, err = run(*arguments)
        assert code == 2 and out == "" and err.startswith("Error: ") and message in err and err.count("\n") == 1


def test_ratios_and_gap_are_printed_and_an_absent_accuracy_is_told(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    options = ["--images", images, "--weights", weights]
    protocols = [x for p in PROTOCOLS for x in ("--protocol", p)]
    code, out, err = run("evaluate", store.path, *options, *protocols)
    starts = {line[29:].split("  ")[0] for line in out.splitlines()}
    wanted = {"clean accuracy", "core accuracy, noise 0.25", "spurious accuracy, noise 0.25", "acc(C), noise 0.25"}
    wanted |= {"acc(S), noise 0.25", "RCS, noise 0.25", "RFS, noise 0.25", "spurious gap"}
    assert code == 0 and wanted <= starts and "so there is no" not in err and "only fold" not in out
    plain = Path(shutil.copytree(store.path, tmp_path / "store"))
    core = [dataclasses.replace(a, answer="main_object") for a in answers_for(store)]
    write_annotations(tmp_path / "core.csv", core)
    annotate(plain, read_annotations(tmp_path / "core.csv"))
    code, out, err = run("evaluate", plain, *options, "--out", tmp_path / "e")
    absent = f"no class of {plain} has a spurious feature, so there is no core accuracy"
    assert code == 0 and absent in err
    assert absent in run("score", plain, *(tmp_path / "e" / "predictions").glob("*.parquet"))[2]
    code, out, err = run("evaluate", plain, *options, "--protocol", "corm2022", "--fold", "1/2")
    assert code == 0 and out.splitlines()[-1] == "only fold 1/2 of the images", err
    assert "so there is no" not in err


def test_the_frame_is_the_models_own_until_the_stores_is_asked_for(
    store: Store, images: Path, weights: Path, run: Run
) -> None:
    given = (
        "evaluate",
        store.path,
        "--images",
        images,
        "--weights",
        weights,
        "--no-controls",
        "--fold",
        "1/2",
        "--json",
    )
    own, stores = (json.loads(run(*given, *frame)[1])[str(weights)]["model"] for frame in ((), ("--frame", "store")))
    assert own["preprocessing"] == {"resize": 60, "crop": 56, "interpolation": "bilinear", "squash": False}
    assert stores == own  # the network that the store was built with: the store's frame is its own


def test_another_frame_than_a_networks_own_is_told(store: Store, images: Path, tmp_path: Path, run: Run) -> None:
    """In the terminal, the report, JSON and the leaderboard; not of a network that has its own, or none."""
    given = ("evaluate", store.path, "--images", images, "--no-controls", "--fold", "1/2")
    both = ("--model", "cli_models:smaller", "--model", "cli_models:good")
    code, out, _ = run(*given, *both, "--frame", "store", "--out", tmp_path / "there" / "o")
    words = (
        "shorter side resized to 60 (bilinear), central 56 x 56, not its own frame: "
        "shorter side resized to 48 (bilinear), central 40 x 40"
    )
    note = f"It saw images in the store's frame, {words}: published results are of its own."
    assert code == 0 and out.count("frame") == 2 and f"\n  note: {note}\n" in out
    assert (tmp_path / "there" / "o" / "index.html").read_text().replace("&#39;", "'").count(note) == 1
    (smaller, good) = json.loads((tmp_path / "there" / "o" / "report.json").read_text())["models"]
    seen = {"resize": 60, "crop": 56, "interpolation": "bilinear", "squash": False}
    own = {"resize": 48, "crop": 40, "interpolation": "bilinear", "squash": False}
    assert smaller["model"]["preprocessing"] == good["model"]["preprocessing"] == seen
    assert smaller["model"]["own_preprocessing"] == own and "own_preprocessing" not in good["model"]
    code, out, _ = run("leaderboard", tmp_path / "there", "--json")
    assert code == 0 and {row["name"]: row["frame"] for row in json.loads(out)[0]["rows"]} == {
        "cli_models:smaller": words,
        "cli_models:good": "",
    }
    assert (tmp_path / "there" / "leaderboard.html").read_text().count(words) == 1
    code, out, _ = run(*given, *both[:2], "--protocol", "iclr2022", "--json")
    record = json.loads(out)["cli_models:smaller"]["model"]
    assert code == 0 and record["preprocessing"] == own and "own_preprocessing" not in record


def test_score_needs_no_torch(report: Path, store: Store, tmp_path: Path) -> None:
    # None in sys.modules makes an import fail, as on a machine without torch.
    code = "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None; sys.argv = ['x', *sys.argv[1:]]\n"
    code += "from salient_imagenet_data.cli import main; main()"
    file = report / "predictions" / "linear-one.parquet"
    command = [sys.executable, "-c", code, "score", str(store.path), str(file), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").is_file() and "core accuracy" in done.stdout
    failing = subprocess.run(
        [sys.executable, "-c", code, "train", "--scenes", "1", "--out", "w"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failing.returncode != 0 and "torch" in failing.stderr  # the check itself can fail


def test_each_line_shows_its_own_figure_and_beside_it_the_clean_one(store: Store, report: Path, run: Run) -> None:
    arguments = ["score", store.path, report / "predictions" / "linear-one.parquet"]
    (figures,) = json.loads(run(*arguments, "--json")[1]).values()
    lines = {line[29:75].strip(): line[75:].split() for line in run(*arguments)[1].splitlines()}
    masked = {c["region"]: c for c in figures["conditions"] if c["sigma"] == 1.0 and not c["control"]}
    told = 0
    for kind, noised in (("core", "spurious"), ("spurious", "core")):
        e, clean = (masked[noised][key] for key in ("accuracy", "clean_accuracy"))
        n, _, value, low, high, beside = lines[f"{kind} accuracy, noise 1"]
        assert (n, value, beside) == (str(e["n"]), f"{e['value']:.3f}", f"{clean['value']:.3f}")
        assert (low, high) == (f"[{e['low']:.3f},", f"{e['high']:.3f}]")
        told += value != beside
    assert told, "no figure differs from its clean one, so that this would not see them swapped"
    assert lines["clean accuracy"][2] == f"{figures['clean_accuracy']['value']:.3f}"


def test_another_model_into_the_same_folder_is_added_to_the_report(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    one, two = tmp_path / "a" / "best.safetensors", tmp_path / "b" / "best.safetensors"
    for path in (one, two):
        path.parent.mkdir()
        shutil.copy(weights, path)
    common = ("evaluate", store.path, "--images", images, "--no-controls", "--out", tmp_path / "out")
    assert run(*common, "--weights", one, "--name", "first")[0] == 0
    code, out, _ = run(*common, "--weights", two, "--name", "second")
    assert code == 0 and out.splitlines()[0].startswith("second: ") and "\nfirst: " in out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [m["name"] for m in report["models"]] == ["second", "first"]
    code, _, err = run(*common, "--weights", one, "--name", "third", "--fold", "1/2")
    assert code == 0 and err.count("another part of its images: not in this report") == 2
    assert [m["name"] for m in json.loads((tmp_path / "out" / "report.json").read_text())["models"]] == ["third"]
    code, _, err = run(*common, "--weights", one, "--weights", two, "--name", "alone")
    assert code == 2 and "give one --name for each model, or none; got 1 for 2" in err


def test_pages_of_others_are_not_written_over(
    store: Store, images: Path, weights: Path, report: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    page = out / "index.html"
    file = report / "predictions" / "linear-one.parquet"
    for command in (("evaluate", store.path, "--images", images, "--weights", weights), ("score", store.path, file)):
        page.write_text("<h1>thesis</h1>")
        code, _, err = run(*command, "--out", out)
        assert code == 2 and f"{page}: not a page of ours" in err and page.read_text() == "<h1>thesis</h1>"
        assert list(out.iterdir()) == [page]
    board = tmp_path / "board.html"
    board.write_text("mine")
    code, _, err = run("leaderboard", report, "--out", board)
    assert code == 2 and f"{board}: not a page of ours" in err and board.read_text() == "mine"
    board.write_text("")  # as a power cut leaves it: nobody's
    assert [run("leaderboard", report, "--out", board)[0] for _ in range(2)] == [0, 0]

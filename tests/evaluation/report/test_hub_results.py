"""Evaluation results for the Hub, read again by huggingface_hub's own reader where it has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.report.hub_results import (
    MARK,
    OnHub,
    hub_results,
    on_hub,
    task_id,
    write_hub_results,
)
from salient_imagenet_data.evaluation.report.leaderboard import boards
from salient_imagenet_data.evaluation.score.results import Summary
from salient_imagenet_data.ranking.left_out import LeftOutFacts
from tests.conftest import Run
from tests.evaluation.results import condition, grouped, model, near, ratio, summary

COMMIT = "0123456789" * 4
WHERE = OnHub("org/masks", COMMIT, "https://example.org/report")
PLACE = "models/{}/.eval_results/masks.yaml"


def two() -> Summary:
    full = model(
        "timm:a b",
        clean_accuracy=near(1 / 3),
        conditions=(condition("noise_0.5@spurious", 0.4), condition("noise_0.5@core_random", 0.4)),
        groups=grouped(0.3, 0.5),
        ratios={"rcs": (ratio("noise_0.5", "", 0.25),)},
    )
    return summary(full, model("plain"))


def read(text: str) -> list[Any]:
    """Entries as huggingface_hub reads them."""
    if not hasattr(huggingface_hub, "parse_eval_result_entries"):
        pytest.skip(f"huggingface_hub {huggingface_hub.__version__} reads no evaluation results")
    found: list[Any] = huggingface_hub.parse_eval_result_entries(yaml.safe_load(text))
    return found


def test_each_figure_of_a_model_is_an_entry_that_says_what_it_is_of() -> None:
    files = hub_results(boards({"a": two()}), WHERE)
    assert list(files) == [PLACE.format("plain"), PLACE.format("timm-a-b"), "dataset/eval.yaml"]
    entries = read(files[PLACE.format("timm-a-b")])
    assert [(e.task_id, e.value) for e in entries] == [
        ("clean_accuracy", 0.333333),
        ("core_accuracy_noise_0_5", 0.4),
        ("rcs_noise_0_5", 0.25),
        ("worst_group_accuracy", 0.3),
        ("mean_of_groups_weighed_alike", 0.4),
        ("mean_of_groups_weighed_by_size", 0.41),
    ]
    assert {(e.dataset_id, e.dataset_revision, e.source_url) for e in entries} == {("org/masks", COMMIT, WHERE.source)}
    store = "40 images of split train, 10 classes; masks of network wwwwwwwwwwww, answers aaaaaaaaaaaa"
    assert (
        entries[1].notes == f"core accuracy, noise 0.5: 95 % interval [0.350, 0.450], n = 100, over 10 classes; {store}"
    )
    assert entries[2].notes.startswith(
        "RCS, noise 0.5 (0.800 outside, 0.600 inside): 95 % interval [0.200, 0.300], n = "
    )
    assert ", n = 100, over 10 groups; 40 images" in entries[3].notes
    assert [e.task_id for e in read(files[PLACE.format("plain")])] == ["clean_accuracy"]
    bare = read(hub_results(boards({"a": two()}), OnHub("org/masks"))[PLACE.format("plain")])
    assert (bare[0].dataset_revision, bare[0].source_url, bare[0].date, bare[0].verify_token) == (
        None,
        None,
        None,
        None,
    )


def test_they_are_what_huggingface_hub_writes_of_the_same_entries() -> None:
    text = hub_results(boards({"a": two()}), WHERE)[PLACE.format("timm-a-b")]
    assert huggingface_hub.eval_result_entries_to_yaml(read(text)) == yaml.safe_load(text)


def test_the_data_set_names_the_tasks_of_all_entries() -> None:
    files = hub_results(boards({"a": two()}), WHERE)
    benchmark = yaml.safe_load(files["dataset/eval.yaml"])
    assert benchmark.keys() == {"name", "description", "tasks"}
    ids = {e.task_id for name, text in files.items() if name.startswith("models/") for e in read(text)}
    assert {task["id"] for task in benchmark["tasks"]} == ids
    assert {(task["config"], task["split"]) for task in benchmark["tasks"]} == {("masks", "train")}
    assert "40 images of split train" in benchmark["description"]


def test_a_part_of_the_images_is_said() -> None:
    facts = {"fold": "1/2", "reading": "store", "left_out": LeftOutFacts(3, "c" * 64)}
    (first, *_) = read(
        hub_results(boards({"a": summary(model("a"), **facts)}), OnHub("o/n"))["models/a/.eval_results/n.yaml"]
    )
    said = "; only fold 1/2; answers among these classes only; 3 images left out on request (ids cccccccccccc)"
    assert first.notes.endswith(said)


def test_another_frame_than_the_networks_own_is_said() -> None:
    frames = {"preprocessing": {"resize": 256, "crop": 224}, "own_preprocessing": {"resize": 320, "crop": 288}}
    files = hub_results(boards({"a": summary(model("a", model=frames), model("b"))}), OnHub("o/n"))
    said = "; shorter side resized to 256 (bilinear), central 224 x 224, not its own frame: shorter side resized to "
    assert read(files["models/a/.eval_results/n.yaml"])[0].notes.endswith(f"{said}320 (bilinear), central 288 x 288")
    assert "frame" not in files["models/b/.eval_results/n.yaml"]


def test_what_cannot_be_said_to_the_hub_is_refused() -> None:
    with pytest.raises(
        SalientError, match="are of one store, and one part of its images; expected reports of one; got 2: a"
    ):
        hub_results(boards({"a": summary(model("a")), "b": summary(model("a"), split="val")}), WHERE)
    with pytest.raises(SalientError, match="'a-b' and 'a b' would write one file"):
        hub_results(boards({"a": summary(model("a b"), model("a-b"))}), WHERE)
    for text, message in (
        ("masks", "repo is no name on the Hub; expected org/name"),
        ("org/masks@v1.0.0", "--dataset org/masks@v1.0.0; expected a commit of the data set, 40 hexadecimal digits"),
        ("org/masks@", "--dataset org/masks@; expected a commit"),
    ):
        with pytest.raises(SalientError, match=message):
            on_hub(text)
    with pytest.raises(SalientError, match="--source; expected an address that begins with https://; got 'me'"):
        on_hub("org/masks", "me")
    assert on_hub(f"org/masks@{COMMIT}", WHERE.source) == WHERE
    assert task_id("loss beyond the control, noise 0.5 on the spurious pixels").startswith(
        "loss_beyond_the_control_noise_0"
    )


def test_files_of_others_stay(tmp_path: Path) -> None:
    write_hub_results({"dataset/eval.yaml": MARK + "a", "b.yaml": MARK}, tmp_path)
    write_hub_results({"dataset/eval.yaml": MARK + "c"}, tmp_path)
    assert (tmp_path / "dataset/eval.yaml").read_text() == MARK + "c"
    (tmp_path / "b.yaml").write_text("mine")
    with pytest.raises(
        SalientError, match="b.yaml: not written by this command; move it away, or choose another --hub"
    ):
        write_hub_results({"a.yaml": MARK, "b.yaml": MARK}, tmp_path)
    assert not (tmp_path / "a.yaml").exists() and (tmp_path / "b.yaml").read_text() == "mine"


def test_the_command_writes_them_beside_the_page(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "report.json").write_text(json.dumps(two().to_json()))
    out = tmp_path / "hub"
    where = ("--hub", out, "--dataset", f"org/masks@{COMMIT}", "--source", WHERE.source)
    code, said, err = run("leaderboard", tmp_path / "in", *where)
    assert code == 0 and err == f"wrote {out}: evaluation results of 2 models, for the Hub\n"
    assert said == f"wrote {tmp_path / 'in' / 'leaderboard.html'}: 2 models\n"
    files = hub_results(boards({"a": two()}), WHERE)
    found = {p.relative_to(out).as_posix(): p.read_text() for p in out.rglob("*") if p.is_file()}
    assert found == files
    for words in (
        ("--hub", out),
        ("--dataset", "a/b"),
        ("--source", "https://x"),
        ("--hub", out, "--source", "https://x"),
    ):
        code, _, err = run("leaderboard", tmp_path / "in", *words)
        assert code == 2 and err == (
            "Error: results for the Hub; expected --hub and --dataset, and --source only beside them\n"
        )


def test_what_is_refused_writes_no_page(tmp_path: Path, run: Run) -> None:
    """Neither where the boards are several, nor where a file for the Hub is somebody's, nor where the page is."""
    folder, out = tmp_path / "in", tmp_path / "hub"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(summary(model("a")).to_json()))
    words = ("leaderboard", folder, "--hub", out, "--dataset", "org/masks")
    (out / "dataset").mkdir(parents=True)
    (out / "dataset" / "eval.yaml").write_text("mine")
    code, _, err = run(*words)
    assert code == 2 and "eval.yaml: not written by this command" in err
    (out / "dataset" / "eval.yaml").unlink()
    (folder / "leaderboard.html").write_text("mine")
    code, _, err = run(*words)
    assert code == 2 and "leaderboard.html: not a page of ours" in err
    (folder / "leaderboard.html").unlink()
    (folder / "other.json").write_text(json.dumps(summary(model("a"), split="val").to_json()))
    code, _, err = run(*words)
    assert code == 2 and "expected reports of one; got 2: a store, a store" in err
    assert sorted(p.name for p in folder.iterdir()) == ["other.json", "report.json"]
    assert [p for p in out.rglob("*") if p.is_file()] == []

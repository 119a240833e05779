from __future__ import annotations

import json
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from salient_imagenet_data.annotation.sheets import HEAD
from salient_imagenet_data.pictures.tiles import GAP, LINE
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after running code in a fresh interpreter."""
    script = code + "\nimport sys; print(' '.join({m.split('.')[0] for m in sys.modules}))"
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return set(said.splitlines()[-1].split())


def test_the_package_can_be_run_as_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["salient_imagenet_data", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("salient_imagenet_data", run_name="__main__")
    assert not caught.value.code and capsys.readouterr().out == "salient-imagenet, version 0.1.0\n"


HEAVY = {"torch", "torchvision", "datasets", "zarr", "pyarrow"}


def test_import_and_help_are_light() -> None:
    assert not HEAVY & loaded_by("import salient_imagenet_data")
    assert not HEAVY & loaded_by("import salient_imagenet_data.cli")
    # The check itself can fail: using a name loads what it needs, and never torch.
    used = HEAVY & loaded_by("from salient_imagenet_data import Store, load_dataset")
    assert used == {"datasets", "zarr", "pyarrow"}


def test_help_waits_for_no_package_but_those_that_every_command_has() -> None:
    """Which is what makes a person wait who only asks."""
    ours, asked = {"salient_imagenet_data", "click", "numpy", "PIL"}, "import sys; sys.argv = ['x', '--help']; "
    run = "import salient_imagenet_data.cli as c\ntry: c.main()\nexcept SystemExit: pass"
    loaded = loaded_by(asked + run) - set(sys.stdlib_module_names)
    assert {name for name in loaded if not name.startswith("_")} <= ours
    assert {"numpy", "click"} <= loaded  # the check itself can fail


def test_the_way_from_images_to_accuracies(
    images: Path, weights: Path, answers_file: Path, tmp_path: Path, run: Run
) -> None:
    store = tmp_path / "a store"
    where = ("--images", images, "--layout", "classes")
    code, out, _ = run(
        "build", *where, "--weights", weights, "--out", store, "--group-by", "label", "--top-features", 4
    )
    assert code == 0 and "40 images, 40 features, 0 images in quarantine" in out
    assert shlex.split(out.splitlines()[-1]) == ["next:", "salient-imagenet", "label", str(store), *map(str, where)]
    code, out, _ = run("sheets", store, "--images", images, "--out", tmp_path / "sheets")
    assert code == 0 and "wrote 10 sheets" in out
    with Image.open(tmp_path / "sheets" / "0000-bar.png") as sheet:
        assert sheet.size == (5 * (224 + GAP) - GAP, HEAD + 4 * (LINE + 2 * (224 + GAP)))
    assert (tmp_path / "sheets" / "answers.csv").read_text().count("\n") == 41
    filled = (tmp_path / "sheets" / "answers.csv").read_bytes()
    code, _, err = run("sheets", store, "--images", images, "--out", tmp_path / "sheets")
    assert code == 2 and "got answers.csv; filled-in answers are never overwritten" in err
    assert (tmp_path / "sheets" / "answers.csv").read_bytes() == filled
    code, _, err = run("evaluate", store, "--images", images, "--weights", weights)
    assert code == 2 and err.startswith("Error: ") and "not annotated" in err
    code, out, _ = run("apply", store, answers_file)
    assert code == 0 and out == "20 core, 20 spurious, 0 without answers\n"
    assert Store(store).manifest.data_version == "1.0.0"
    assert run("apply", store, answers_file, "--data-version", "1.1.0")[0] == 0
    assert Store(store).manifest.data_version == "1.1.0"
    code, _, err = run("apply", store, answers_file, "--data-version", "v2")
    assert code == 2 and "data version; expected three numbers such as 1.0.0; got 'v2'" in err
    assert Store(store).manifest.data_version == "1.1.0"
    code, out, _ = run("evaluate", store, "--images", images, "--weights", weights, "--sigma", "0.1,0.5", "--json")
    result = json.loads(out)[str(weights)]
    assert (
        code == 0 and {c["sigma"] for c in result["conditions"]} == {0.1, 0.5} and result["protocols"] == ["iclr2022"]
    )
    code, out, _ = run("evaluate", store, "--images", images, "--weights", weights)
    assert code == 0 and "core accuracy" in out and "spurious accuracy" in out
    code, out, _ = run("verify", store)
    assert code == 0 and "all as the manifest says" in out
    code, out, _ = run("info", store, "--json")
    assert code == 0 and json.loads(out)["images"] == 40 and json.loads(out)["features"]["spurious"] == 20
    assert json.loads(out)["classes_with_masks"] == {"core": 9, "spurious": 9}
    code, out, _ = run("info", store)
    assert code == 0 and "architecture" in out and "classes_with_masks  core 9, spurious 9" in " ".join(out.split(" "))


def test_annotations_prints_counts(answers_file: Path, run: Run) -> None:
    code, out, _ = run("annotations", answers_file, "--json")
    counts = json.loads(out)
    assert code == 0 and (counts["answers"], counts["annotators"], counts["pairs"]) == (200, 5, 40)
    assert (counts["classes_with_spurious"], counts["classes_without_core"]) == (9, 1)
    assert counts["spurious_by_cue"] == {"background": 12, "separate_object": 8, "mixed": 0}
    code, out, _ = run("annotations", answers_file)
    assert code == 0 and "classes_without_core   1" in out


def test_train_writes_weights_that_build(images: Path, tmp_path: Path, run: Run) -> None:
    arguments = ["--crop", 64, "--epochs", 1, "--batch-size", 16, "--widths", "4,4", "--blocks", 1, "--stem-stride", 2]
    out = tmp_path / "w.safetensors"
    code, printed, err = run("train", "--images", images, "--test-images", images, "--out", out, *arguments)
    assert code == 0 and "clean accuracy" in printed and "10-step l2 attack" in printed and "epoch 1/1" in err
    first = out.read_bytes()
    code, _, err = run("train", "--images", images, "--out", out, *arguments)
    assert code == 2 and "exists" in err and out.read_bytes() == first
    assert run("train", "--images", images, "--out", out, "--overwrite", *arguments)[0] == 0
    assert out.read_bytes() == first
    assert run("build", "--images", images, "--weights", out, "--out", tmp_path / "s")[0] == 0
    assert run("train", "--out", tmp_path / "x.safetensors")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "nowhere"), "nowhere: not a store"),
        (("annotations", "nowhere.csv"), "nowhere.csv: no such file"),
        (("build", "--images", "nowhere", "--weights", "w", "--out", "o"), "nowhere: no such folder"),
        (("build", "--images", ".", "--weights", "w", "--out", "o"), "no class folders"),
    ],
)
def test_one_line_for_bad_input(
    arguments: tuple[str, ...], message: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and err.startswith("Error: ") and message in err and err.count("\n") == 1


def test_existing_output_is_refused_and_resume_finds_it_finished(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    copy = Path(shutil.copytree(store.path, tmp_path / "store"))
    before = (copy / "manifest.json").read_bytes()
    code, _, err = run("build", "--images", images, "--weights", weights, "--out", copy)
    assert code == 2 and "use --resume to go on or --overwrite to start again" in err
    assert (copy / "manifest.json").read_bytes() == before


def test_weights_that_do_not_fit(images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "w.pt").write_text("no weights")
    out = ("--out", tmp_path / "o")
    code, _, err = run("build", "--images", images, "--weights", tmp_path / "w.pt", *out)
    assert code == 2 and "got no file of torch.save, or a damaged one; give a checkpoint" in err
    code, _, err = run("build", "--images", images, "--weights", weights, "--architecture", "resnet5O", *out)
    assert code == 2 and "say themselves what network they are for; got torchvision:resnet5O; leave it out" in err
    code, _, err = run("build", "--images", images, "--weights", weights, "--resize", 64, "--crop", 56, *out)
    assert (
        code == 2 and "small.safetensors: the weights say themselves how they want images; expected shorter side" in err
    )
    code, _, err = run("build", "--images", images, "--weights", weights, "--device", "cuad", *out)
    assert code == 2 and "device 'cuad' cannot be used; expected cpu, cuda or cuda:N; got another device type" in err
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    code, _, err = run("build", "--images", images, "--weights", tmp_path / "w.safetensors", "--out", tmp_path / "o")
    assert code == 2 and "not a safetensors file" in err and not (tmp_path / "o").exists()


def test_help_says_each_commands_whole_first_sentence(run: Run) -> None:
    from salient_imagenet_data.cli import cli
    from salient_imagenet_data.cli.commands import SECTIONS

    code, out, _ = run("--help")
    listed = " ".join(out.partition("Look:")[2].split())
    assert code == 0 and "..." not in listed
    for name, command in cli.commands.items():
        sentence = (command.help or "").split(".")[0].split("\n\n")[0]
        assert listed.count(f"{name} {' '.join(sentence.split())}") == 1
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(cli.commands)

"""The main job on the embedded scenes, twice, and the README's code on what it leaves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import salient_imagenet_data.demo.run as run_module
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.scenes import CLASSES
from salient_imagenet_data.store.reading import Store
from tests.warm import Warm

ROOT = Path(__file__).parents[2]


COMMAND = ("-m", "salient_imagenet_data.cli")
SCENES, DECORRELATED = 150, 50
"""Of the small demo."""
SMALL = f"""
import json
from pathlib import Path
import salient_imagenet_data.demo.run as run
run.SCENES, run.DECORRELATED = {SCENES}, {DECORRELATED}
print(json.dumps(run.run(Path("demo")).to_json()))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def result(folder: Path, warm: Warm) -> dict[str, Any]:
    return told(warm.run(*COMMAND, "demo", "--out", "demo", "--json", cwd=folder))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> tuple[Path, dict[str, Any]]:
    """A folder with the demo of fewer scenes, for what does not depend on their number; and what it said."""
    folder = tmp_path_factory.mktemp("small")
    return folder, told(warm.run("-c", SMALL, cwd=folder))


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_planted_cue_is_found_and_nothing_is_called_spurious_without_one(result: dict[str, Any]) -> None:
    assert len(result["cues"]) == 8 and all(cue["found"] for cue in result["cues"])
    assert result["spurious_in_classes_without_cue"] == []
    assert result["counts"] == {
        "scenes": 2000,
        "features": 50,
        "dataset_rows": 2000,
        "torch_samples": 2000,
        "numpy_rows": 2000,
    }


def test_masks_lie_where_the_truth_is(result: dict[str, Any]) -> None:
    assert result["masks"]["core"]["auroc"] >= 0.90
    assert result["masks"]["separate_object"]["auroc"] >= 0.90
    assert result["masks"]["separate_object"]["n"] > 600


def test_the_standard_classifiers_spurious_reliance_is_visible(result: dict[str, Any]) -> None:
    standard = result["classifiers"]["standard"]
    assert standard["decorrelated"]["high"] < standard["clean"]["low"]
    assert standard["core"]["0.5"]["accuracy"]["high"] < standard["core"]["0.5"]["clean_accuracy"]["low"]
    for name in ("robust", "standard"):
        for part in ("core", "spurious"):
            estimate = result["classifiers"][name][part]["0.25"]["accuracy"]
            assert estimate["low"] <= estimate["value"] <= estimate["high"] and estimate["n"] > 300


def test_the_figure_that_leads_agrees_with_the_truth(result: dict[str, Any]) -> None:
    robust, standard = (result["classifiers"][name] for name in ("robust", "standard"))
    assert robust["spurious_gap"]["high"] < standard["spurious_gap"]["low"]
    assert robust["decorrelated"]["low"] > standard["decorrelated"]["high"]
    assert [round(c["spurious_gap"]["value"], 3) for c in (robust, standard)] == pytest.approx([0.098, 0.160], abs=0.01)


def test_memory_stays_under_two_gigabytes(result: dict[str, Any]) -> None:
    assert result["resources"]["peak_mib"] < 2000


def test_memory_is_this_process_own_and_not_that_of_the_one_that_started_it() -> None:
    own = "from salient_imagenet_data.demo.run import peak_mib; print(peak_mib())"
    large = (
        "import subprocess, sys; held = bytearray(b'1') * (400 << 20)\n"
        f"print(subprocess.run([sys.executable, '-c', {own!r}], capture_output=True, text=True, check=True).stdout)"
    )
    found = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert 20 < float(found) < 300


def test_a_second_run_says_the_same_but_for_times(
    small: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, with another seed of Python's hashes."""
    monkeypatch.setattr(run_module, "SCENES", SCENES)
    monkeypatch.setattr(run_module, "DECORRELATED", DECORRELATED)
    (folder, one), two = small, json.loads(json.dumps(run_module.run(tmp_path / "demo").to_json()))
    assert one["counts"]["scenes"] == SCENES and one["resources"] != two["resources"]
    assert {k: v for k, v in one.items() if k != "resources"} == {k: v for k, v in two.items() if k != "resources"}
    for name in ("store/manifest.json", "answers.csv", "contact_sheet.png", "index.html"):
        assert (tmp_path / "demo" / name).read_bytes() == (folder / "demo" / name).read_bytes(), name


def test_pictures_and_page(result: dict[str, Any], folder: Path) -> None:
    with Image.open(folder / "demo" / "contact_sheet.png") as sheet:
        assert sheet.size == (2 * 352 + 24, 28 + len(CLASSES) // 2 * 140)
        assert np.asarray(sheet.convert("L")).std() > 20
    page = (folder / "demo" / "index.html").read_text()
    HTMLParser().feed(page)
    for scene_class in CLASSES:
        assert scene_class.cue is None or scene_class.cue in page
        assert f"<figcaption>{scene_class.name}</figcaption>" in page
    assert "http" not in page and 'name="viewport"' in page
    lead = page.index('<div class="figure spurious">')  # before every table, and as the terminal has it
    gaps = [result["classifiers"][name]["spurious_gap"]["value"] for name in ("robust", "standard")]
    told = re.findall(r'<div class="figure spurious">([\d.]+)</div>', page)
    assert lead < page.index("<table>") and told == [f"{gap:.3f}" for gap in gaps]
    Store(folder / "demo" / "store").verify()


def test_an_existing_folder_is_kept(result: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "salient_imagenet_data.cli", "demo", "--out"]
    done = subprocess.run([*command, "demo"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "exists; expected a new folder" in done.stderr
    assert "salient_imagenet_data.errors" in done.stderr and "| torch" not in done.stderr  # it is said at once
    (tmp_path / "letter.txt").write_text("dear")
    done = subprocess.run([*command, str(tmp_path), "--overwrite"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "not a demo" in done.stderr and (tmp_path / "letter.txt").exists()


@pytest.mark.parametrize("page", ["README.md", "docs/store.md"])
def test_code_on_the_pages_works_as_pasted(result: dict[str, Any], folder: Path, page: str, warm: Warm) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        assert len([line for line in block.splitlines() if line.strip()]) <= 5
        done = warm.run("-c", block, cwd=folder)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_readmes_options_exist() -> None:
    from salient_imagenet_data.cli import cli

    for line in re.findall(r"^salient-imagenet (.*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        name, *words = line.split("#")[0].split()
        known = {option for parameter in cli.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_readmes_commands_on_the_demo_work_as_pasted(
    result: dict[str, Any], folder: Path, small: tuple[Path, dict[str, Any]], warm: Warm
) -> None:
    """The picture is of the demo; classifiers read a smaller one."""
    text = (ROOT / "README.md").read_text()
    lines = re.findall(
        r"^(?:The picture above is `)?(salient-imagenet [^`\n]*demo/store[^`\n]*)", text, flags=re.MULTILINE
    )
    assert [line.split()[1] for line in lines] == ["look", "evaluate", "retrain-head", "evaluate"]
    for line in lines:
        name, *words = line.split()[1:]
        done = warm.run(*COMMAND, name, *words, cwd=folder if name == "look" else small[0])
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    with Image.open(folder / "look.png") as mine, Image.open(ROOT / "docs" / "look.png") as shown:
        assert mine.size == shown.size
        # The picture that the README shows.
        assert np.abs(np.asarray(mine).astype(int) - np.asarray(shown).astype(int)).mean() < 2
    assert (small[0] / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("marker", "said"), [('{"theirs": 1}', "not a demo"), (run_module.MARK, "not of the demo; got thesis.txt")]
)
def test_overwrite_removes_nothing_that_is_not_of_the_demo(tmp_path: Path, marker: str, said: str) -> None:
    (tmp_path / run_module.MARKER).write_text(marker)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SalientError, match=said):
        run_module.run(tmp_path, overwrite=True)
    assert (tmp_path / run_module.MARKER).read_text() == marker
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_overwrite_removes_no_file_of_others_below_and_no_answers(tmp_path: Path, monkeypatch: Any) -> None:
    def entries() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}

    for name in ("images/ring/scene-1-090-000001.png", "answers.csv", "cache/x", "store.answers.sqlite-wal"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / run_module.MARKER).write_text(run_module.MARK)
    (tmp_path / "images" / "mine").mkdir()
    for other in ("images/mine/holiday.jpg", "images/ring/ring.png"):
        (tmp_path / other).write_text("a photograph")
        before = entries()
        with pytest.raises(SalientError, match=f"holds what is not of the demo; got {other}; move it elsewhere"):
            run_module.run(tmp_path, overwrite=True)
        assert entries() == before
        (tmp_path / other).unlink()
    monkeypatch.setattr(run_module, "SceneSource", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_module.run(tmp_path, overwrite=True)
    assert entries() == {run_module.MARKER, "store.answers.sqlite-wal"}


def test_the_groups_of_the_page_are_those_of_the_demo(result: dict[str, Any], folder: Path, warm: Warm) -> None:
    done = warm.run(*COMMAND, "groups", "demo/store", "--shown", "split", cwd=folder)
    assert done.returncode == 0 and done.stdout in (ROOT / "docs" / "spuriosity.md").read_text(), done.stdout

"""The commands of docs/subsets.md, as they are pasted."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest

from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.subsets.networks import TEN, knowing_network, write_network, write_tree


def test_the_pages_commands_run_as_they_are_pasted(
    thousand: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "subsets.md").read_text()
    commands = [line for block in page.split("```")[1::2] for line in block.strip().splitlines()]
    assert len(commands) == 8 and all(command.startswith("salient-imagenet ") for command in commands)
    for place, wnid in enumerate(TEN):
        write_tree(tmp_path / "imagenette" / "train", [wnid], 4, "{wnid}_{k}.JPEG")
        write_tree(tmp_path / "imagenette" / "val", [wnid], 2, "ILSVRC2012_val_{k:08d}.JPEG", first=10 + 2 * place)
    write_network(tmp_path / "robust.safetensors", knowing_network())
    monkeypatch.chdir(tmp_path)
    words = {"1": "main_object", "2": "background"}
    said = {}
    for command in commands:
        code, out, err = run(*shlex.split(command)[1:])
        assert code == 0, (command, err)
        said[command.split()[1]] = out
        if " sheets " in command:  # what a person does between
            with (tmp_path / "sheets" / "answers.csv").open() as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                row |= {"annotator": "me", "answer": words.get(row["feature_rank"], "main_object")}
            with (tmp_path / "answers.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    assert "classes by name, 10 of the network's 1000 outputs: 0 n01440764 tench, 217 n02102040 English" in said["info"]
    assert [path.name for path in sorted(Path("sheets").glob("*.png"))][2] == "0002-cassette_player.png"
    report = Path("report/index.html").read_text()
    assert "cassette player" in report and "n02979186" not in report
    assert Store("val_store").manifest.split == "val" and len(Store("val_store")) == 20
    assert {f.kind for f in Store("val_store").features} == {"core", "spurious"}

"""The page of the formats runs as it is pasted: its commands, then its examples, in one folder."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from salient_imagenet_data.cli import cli
from salient_imagenet_data.formats.names import NAMES
from salient_imagenet_data.store.reading import Store

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_the_page_runs(
    store: Store, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("pycocotools", "webdataset"):
        pytest.importorskip(package, reason="in the extra dev")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "store").symlink_to(store.path)
    (tmp_path / "demo" / "images").symlink_to(photos)
    monkeypatch.chdir(tmp_path)
    commands = [line for line in PAGE.splitlines() if line.startswith("salient-imagenet ")]
    assert [line.split("--format ")[1].split()[0] for line in commands] == list(NAMES)
    for line in commands:
        result = CliRunner().invoke(cli, shlex.split(line)[1:], catch_exceptions=False)
        assert result.exit_code == 0 and result.stdout.startswith(f"wrote {line.split('--out ')[1].split()[0]}: ")
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 3
    for number, text in enumerate(examples):
        if "import fiftyone" not in text or find_spec("fiftyone"):
            exec(compile(text, f"formats.md, example {number}", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1].startswith("bar/0000.x y.png bar core ")


def test_the_table_of_the_page_has_every_format() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    assert rows == list(NAMES)

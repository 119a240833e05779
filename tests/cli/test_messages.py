"""The last net of the command line: whatever stops a command is one line that names a place or a remedy."""

from __future__ import annotations

import errno
import os
import signal
import tomllib
from pathlib import Path

import pytest

from salient_imagenet_data import errors
from salient_imagenet_data.errors import EXTRAS
from salient_imagenet_data.evaluation.run.images import Items
from salient_imagenet_data.store import reading
from tests.conftest import Run

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("export", "some/store", "--out", "there"), "there"),
        (("export", "some/store", "--out=there"), "there"),
        (("verify", "some/store"), "some/store"),
    ],
)
def test_trouble_of_the_system_that_names_no_file_is_told_with_the_place(
    arguments: tuple[str, ...], place: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(reading.Store, "__init__", full)
    assert run(*arguments) == (2, "", f"Error: {place}: File too large\n")


@pytest.mark.parametrize("package", EXTRAS)
def test_a_package_that_is_missing_is_told_with_its_own_extra(
    package: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(reading.Store, "__init__", missing)
    monkeypatch.chdir(ROOT)
    expected = f"Error: {package} is not installed; pip install '{{}}[{EXTRAS[package]}]'\n"
    assert run("verify", "some/store") == (2, "", expected.format("."))


def test_the_line_that_installs_an_extra_is_that_of_this_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(errors.not_installed("timm")) == f"timm is not installed; pip install '{ROOT}[timm]'"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "salient_imagenet_data" / "errors.py"))  # as of a wheel
    assert str(errors.not_installed("timm")) == "timm is not installed; pip install 'salient-imagenet-data[timm]'"


def test_each_extra_brings_the_packages_that_it_is_told_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        wanted = {"open_clip": "open_clip_torch"}.get(package, package)
        assert any(line.startswith(wanted) for line in extras[extra]), package


def test_a_process_that_reads_images_and_is_killed_is_told_in_one_line(
    store: reading.Store, images: Path, weights: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system does to one when memory is short."""
    monkeypatch.setattr(Items, "__getitem__", lambda self, number: os.kill(os.getpid(), signal.SIGKILL))
    where = ("--images", images, "--weights", weights, "--workers", 1, "--device", "cpu")
    code, _, err = run("align", store.path, *where)
    line = err.splitlines()[-1]
    assert code == 2 and line.startswith("Error: a process that reads images died; got DataLoader worker (pid")
    assert line.endswith("; is memory short, or shared memory? Fewer --workers or --threads take less of both")

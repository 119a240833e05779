"""The rooms and what they may import, and that the wheel holds all of them."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "builder": {"core", "builder"},
    "loaders": {"core", "loaders"},
    "evaluation": {"core", "loaders", "evaluation"},
}


def imports(path: Path) -> set[str]:
    """Rooms that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.split(".")[0] == "salient_imagenet_data":
                room = [*name.split("."), ""][1]
                found.add(room if room in ROOMS else "core")
            if name.split(".")[0] in ROOMS:
                found.add(f"bare {name}")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_left_to_right(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        assert imports(path) <= ROOMS[room], path


def test_core_imports_no_room_but_from_the_command_line() -> None:
    for path in (ROOT / "salient_imagenet_data").glob("**/*.py"):
        relative = path.relative_to(ROOT / "salient_imagenet_data")
        if relative.parts[0] not in (*ROOMS, "cli"):
            assert imports(path) <= {"core"}, path


def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {n for n in archive.namelist() if n.startswith("salient_imagenet_data/")}
    package = ROOT / "salient_imagenet_data"
    tree = {f"salient_imagenet_data/{p.relative_to(package).as_posix()}" for p in package.rglob("*") if p.is_file()}
    for room in ROOMS:  # a glob does not follow the links
        tree |= {
            f"salient_imagenet_data/{room}/{p.relative_to(ROOT / room).as_posix()}"
            for p in (ROOT / room).rglob("*")
            if p.is_file()
        }
    tree = {name for name in tree if "__pycache__" not in name}
    assert packed == tree
    assert {"salient_imagenet_data/builder/build.py", "salient_imagenet_data/py.typed"} <= packed

"""The rooms and what they may import, and that the wheel holds all of them."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "salient_imagenet_data"
TOP = ("builder", "loaders", "evaluation")
"""Rooms that stand at the top of the repository."""

LEVELS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("app",),
    ("demo",),
    ("evaluation",),
    ("loaders",),
    ("builder",),
    ("networks",),
    ("formats",),
    ("hub", "official"),
    ("annotation",),
    ("scenes", "looking"),
    ("dataset",),
    ("table",),
    ("joining",),
    ("store",),
    ("images", "pictures"),
    ("hub_errors", "masks", "places"),
    ("geometry", "folds", "imagenet", "names", "progress", "ranking", "whole_file"),
    ("spreadsheets",),
    ("errors",),
)
"""From the top floor down. A room imports from floors below its own, and from itself."""
NO_TORCH = {
    *(
        "app",
        "formats",
        "hub",
        "official",
        "annotation",
        "scenes",
        "looking",
        "pictures",
        "dataset",
        "table",
        "joining",
        "store",
        "images",
    ),
    *(
        "hub_errors",
        "masks",
        "places",
        "geometry",
        "folds",
        "imagenet",
        "names",
        "progress",
        "ranking",
        "whole_file",
        "spreadsheets",
        "errors",
    ),
}
"""Rooms in which no line imports torch."""
TORCH_INSIDE = {"cli", "demo"}
"""Rooms that import torch, and rooms with torch, inside functions only."""
LISTS = {
    "salient_imagenet_data.builder.choices",
    "salient_imagenet_data.evaluation.labels.choices",
    "salient_imagenet_data.evaluation.mitigation.choices",
    "salient_imagenet_data.evaluation.numbers.choices",
    "salient_imagenet_data.evaluation.plan.protocols",
    "salient_imagenet_data.evaluation.relevance.choices",
    "salient_imagenet_data.evaluation.saliency.methods",
    "salient_imagenet_data.evaluation.study.methods",
    "salient_imagenet_data.evaluation.sufficiency.choices",
    "salient_imagenet_data.loaders.augment.choices",
    "salient_imagenet_data.loaders.corruption.records",
    "salient_imagenet_data.loaders.region",
    "salient_imagenet_data.networks.classes",
    "salient_imagenet_data.networks.words.asking",
}
"""Modules of rooms with torch that load none themselves, so that the command line takes its lists of names from them."""
ALLOWED_UP: dict[str, set[str]] = {
    "__init__": {"annotation", "dataset", "images", "looking", "scenes", "store", "table"}
}
"""The package's own names, loaded on first use."""

FLOOR = {room: len(LEVELS) - i for i, rooms in enumerate(LEVELS) for room in rooms}


def modules() -> Iterator[tuple[str, Path]]:
    """Room and file of every module."""
    for path in (ROOT / PACKAGE).glob("**/*.py"):
        first = path.relative_to(ROOT / PACKAGE).parts[0]
        if first not in TOP:
            yield first.removesuffix(".py"), path
    for room in TOP:
        yield from ((room, path) for path in (ROOT / room).rglob("*.py"))


def imported(path: Path, *, outside_functions: bool = False) -> set[str]:
    """Dotted names that a file imports, anywhere in it, or only where they are imported with it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[ast.AST] = set()
    if outside_functions:
        for node in ast.walk(tree):
            lazy = isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node))
            if lazy:
                inside |= set(ast.walk(node))
    found = set()
    for node in ast.walk(tree):
        if node in inside:
            continue
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)} if base == PACKAGE else {base}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def rooms_in(names: set[str]) -> set[str]:
    """Rooms among dotted names."""
    return {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}


def test_every_module_stands_in_a_room_of_the_table() -> None:
    assert {room for room, _ in modules()} == {*FLOOR, "__init__", "__main__"}


@pytest.mark.parametrize("room", FLOOR)
def test_rooms_import_from_lower_floors_only(room: str) -> None:
    for mine, path in modules():
        if mine == room:
            up = {other for other in rooms_in(imported(path)) if other != room and FLOOR[other] >= FLOOR[room]}
            assert not up, f"{path.relative_to(ROOT)} imports from {sorted(up)}"


def test_the_package_itself_names_low_rooms_only() -> None:
    assert rooms_in(imported(ROOT / PACKAGE / "__init__.py")) <= {*ALLOWED_UP["__init__"], "errors"}


def test_rooms_without_torch_name_it_nowhere() -> None:
    for room, path in modules():
        heavy = {name for name in imported(path) if name.split(".")[0] in ("torch", "torchvision", "safetensors")}
        assert room not in NO_TORCH or not heavy, path


def test_rooms_with_torch_inside_functions_load_none_of_it_when_they_are_imported() -> None:
    for room, path in modules():
        names = imported(path, outside_functions=True)
        with_torch = rooms_in(names - LISTS) - NO_TORCH - TORCH_INSIDE
        heavy = {name for name in names if name.split(".")[0] in ("torch", "torchvision", "safetensors")}
        assert room not in TORCH_INSIDE or not (heavy | with_torch), path


def test_modules_of_lists_load_no_torch() -> None:
    code = f"import sys, {', '.join(sorted(LISTS))}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_run_as_a_program_is_the_command_line_and_nothing_else() -> None:
    assert imported(ROOT / PACKAGE / "__main__.py") == {f"{PACKAGE}.cli"}


def test_no_folder_is_called_as_if_it_were_a_package_of_its_own() -> None:
    for _, path in modules():
        assert not {name.split(".")[0] for name in imported(path)} & set(TOP), path


def test_no_circle_of_modules() -> None:
    """Following imports that run with the import of a module, never back to where it began."""
    below: dict[str, set[str]] = {}
    for room, path in modules():
        root, prefix = (ROOT / room, [PACKAGE, room]) if room in TOP else (ROOT / PACKAGE, [PACKAGE])
        parts = [*prefix, *path.relative_to(root).with_suffix("").parts]
        name = ".".join(parts).removesuffix(".__init__")
        below[name] = {other for other in imported(path, outside_functions=True) if other.startswith(PACKAGE)} - {name}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in below.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in below:
        visit(name, ())


def test_the_rooms_of_contributing_are_those_of_this_file() -> None:
    """Row by row, each with what it says of torch."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The rooms")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    told = [tuple(name.strip("`").removesuffix("/").removesuffix(".py") for name in row[0].split(", ")) for row in rows]
    assert tuple(told) == LEVELS
    for names, row in zip(told, rows, strict=True):
        for name in names:
            wanted = "no" if name in NO_TORCH else "inside functions" if name in TORCH_INSIDE else "yes"
            assert row[-1] == wanted, name
            folder = (ROOT / (name if name in TOP else f"{PACKAGE}/{name}")).is_dir()
            assert (f"`{name}/`" if folder else f"`{name}.py`") in row[0]


def test_the_map_of_contributing_has_twenty_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where is it?")[2].partition("\n## ")[0]
    files = [line.split("`")[1] for line in text.splitlines() if line.count("`") == 2]
    assert len(files) == len(set(files)) == 20 and all((ROOT / name).is_file() for name in files)


def test_no_folder_holds_more_than_fourteen_loose_modules() -> None:
    folders = [path.parent for _, path in modules() if path.name != "__main__.py"]
    crowded = {str(f.relative_to(ROOT)): folders.count(f) for f in folders if folders.count(f) > 14}
    assert not crowded


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    files = [p for _, p in modules()] + [p for room in ("tests", "benchmarks") for p in (ROOT / room).rglob("*.py")]
    assert len(files) > 300
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    """Built from a copy: setuptools packs what an older build left in `build/`, and leaves one behind."""
    copy = tmp_path / "checkout"
    left = shutil.ignore_patterns("__pycache__")
    for folder in (PACKAGE, *TOP):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=left)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {n for n in archive.namelist() if n.startswith(f"{PACKAGE}/")}
    package = ROOT / PACKAGE
    tree = {f"{PACKAGE}/{p.relative_to(package).as_posix()}" for p in package.rglob("*") if p.is_file()}
    for room in TOP:  # a glob does not follow the links
        tree |= {
            f"{PACKAGE}/{room}/{p.relative_to(ROOT / room).as_posix()}" for p in (ROOT / room).rglob("*") if p.is_file()
        }
    tree = {name for name in tree if "__pycache__" not in name}
    assert packed == tree
    assert {f"{PACKAGE}/builder/build.py", f"{PACKAGE}/evaluation/report/report.html"} <= packed

"""What CONTRIBUTING says how to add, and a copy of the package to add it to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.test_structure import PACKAGE, ROOT, TOP
from tests.warm import Warm

BLOCK = re.compile(r"<!-- (?P<file>\S+), (?P<place>[^>]+) -->\n```(?:python)?\n(?P<code>.*?)```", re.DOTALL)


def section(title: str) -> list[re.Match[str]]:
    """The blocks of code below a title, each with the file and the place where it goes."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return list(BLOCK.finditer(text))


def copy_package(copy: Path) -> None:
    """The package below `copy`, with its top-level rooms as plain folders."""
    skip = shutil.ignore_patterns("__pycache__", *TOP)
    shutil.copytree(ROOT / PACKAGE, copy / PACKAGE, ignore=skip)
    for room in TOP:
        shutil.copytree(ROOT / room, copy / PACKAGE / room, ignore=skip)


def python(warm: Warm, copy: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """In the copy's folder, which python looks into first."""
    return warm.run(*args, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, without=PACKAGE)


def command(warm: Warm, copy: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """The command line of the copy."""
    return python(warm, copy, "-m", "salient_imagenet_data.cli", *args)

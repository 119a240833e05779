"""What CONTRIBUTING says how to add, and a copy of the package to add it to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.test_structure import PACKAGE, ROOT, TOP

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


def python(copy: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """In the copy's folder, which python looks into first."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    words = [sys.executable, *map(str, args)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, cwd=copy)


def command(copy: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """The command line of the copy."""
    return python(copy, "-m", "salient_imagenet_data.cli", *args)

"""How many threads a line of code leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import os, sys
import pyarrow.parquet
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.store.reading import Store

before = len(os.listdir("/proc/self/task"))
{line}
print(len(os.listdir("/proc/self/task")) - before)
"""


def threads_begun(line: str, argument: Path) -> int:
    """Threads that are there after a line of Python and were not before. The line sees the argument as sys.argv[1]."""
    if not sys.platform.startswith("linux"):
        pytest.skip("threads are counted in /proc")
    command = [sys.executable, "-c", _PROGRAM.format(line=line), str(argument)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

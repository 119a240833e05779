"""The room of the pages needs no torch, whatever it imports from other rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOM = Path(__file__).parents[2] / "salient_imagenet_data" / "app"


def test_no_module_of_the_room_brings_torch() -> None:
    names = [
        ".".join(("salient_imagenet_data.app", *path.relative_to(ROOM).with_suffix("").parts)).removesuffix(".__init__")
        for path in ROOM.rglob("*.py")
    ]
    assert len(names) > 15
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

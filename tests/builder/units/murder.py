"""A source whose reading kills the process that does it, once: for the test of a lost worker."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.images.source import Entry, ImageSource


class KillsItsFirstWorker:
    """The images of another source; the first worker to read number 20 dies of SIGKILL and leaves its pid. The process
    that made it, which reads images too to measure robustness, lives on."""

    def __init__(self, source: ImageSource, mark: Path) -> None:
        self.source, self.mark, self.maker = source, mark, os.getpid()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    def __len__(self) -> int:
        return len(self.source)

    def entry(self, index: int) -> Entry:
        return self.source.entry(index)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        if index == 20 and os.getpid() != self.maker and not self.mark.exists():
            self.mark.write_text(json.dumps(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.pixels(index)

    def encoded(self, index: int) -> dict[str, Any]:
        return self.source.encoded(index)

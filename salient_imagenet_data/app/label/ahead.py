"""Pictures of the pair that a person is asked next, drawn while they look at this one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

MOST_WAITING = 64
"""People for whom something waits to be drawn; whoever waits longest is forgotten first."""


class Ahead:
    """One thread that does for one person after the other what was asked for last. Nobody waits for it."""

    def __init__(self, work: Callable[[str, str], None]) -> None:
        """work: is given a person and the view they look at. Whatever it raises is dropped: a page draws for itself."""
        self._work = work
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.done = 0
        """How often it worked."""

    def ask(self, annotator: str, view: str) -> None:
        """Work for a person soon, in place of what waits for them."""
        with self._changed:
            if self._closed:
                return
            self._waiting.pop(annotator, None)
            self._waiting[annotator] = view
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """End the thread after what it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(10)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                annotator, view = self._waiting.popitem(last=False)
            try:
                self._work(annotator, view)
            except Exception:  # told where the picture itself is asked for
                continue
            finally:
                self.done += 1

"""Commands that serve pages, in this process, while somebody looks at them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from salient_imagenet_data.app.serving import listen
from tests.app.conftest import Client
from tests.conftest import Run

Served = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def served(run: Run) -> Served:
    """Run a command until what `visit` gives of a client is there, and end it with Ctrl-C: that, stdout, stderr."""

    def call(visit: Callable[[Client], Any], *arguments: object) -> tuple[Any, str, str]:
        with listen("127.0.0.1", 0) as free:
            client = Client(free.getsockname()[1])
        ended, seen = threading.Event(), []

        def look() -> None:
            while not ended.is_set():
                try:
                    client.get("/")
                except ConnectionRefusedError:
                    time.sleep(0.01)
                    continue
                try:
                    seen.append(visit(client))
                finally:
                    os.kill(os.getpid(), signal.SIGINT)
                return

        person = threading.Thread(target=look)
        person.start()
        before = signal.getsignal(signal.SIGTERM)
        try:
            code, out, err = run(*arguments, "--port", client.port)
        finally:
            ended.set()
            person.join()
            signal.signal(signal.SIGTERM, before)
        assert code == 0 and len(seen) == 1, err
        assert out.splitlines()[0] == f"open http://127.0.0.1:{client.port}/ (Ctrl-C ends the server)"
        return seen[0], out.partition("\n")[2], err

    return call


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the person's browser is sent to."""
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses

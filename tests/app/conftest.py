"""The real server on loopback, and what a client without a browser does."""

from __future__ import annotations

import http.client
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from starlette.types import ASGIApp

from salient_imagenet_data.app.label.desk import Desk
from salient_imagenet_data.app.label.opening import open_desk
from salient_imagenet_data.app.label.routes import label_routes
from salient_imagenet_data.app.serving import access_to, listen
from salient_imagenet_data.app.site import site
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store
from tests.warm import Started, Warm


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


@dataclass
class Client:
    """Asks a server on loopback, each time anew, with exactly the headers that are given."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Host": self.host} | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        found = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return found

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Reply:
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields).encode(), **kind, **headers)


Serve = Callable[[ASGIApp], Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Run an application until the test ends."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: ASGIApp) -> Client:
        listening = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        running.append((server, thread))
        for _ in range(500):
            if server.started:
                return Client(listening.getsockname()[1])
            time.sleep(0.01)
        raise AssertionError("the server did not start")

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


OpenDesk = Callable[..., Desk]


@pytest.fixture
def desk(bare_store: Store, images: Path, tmp_path: Path) -> Iterator[OpenDesk]:
    """Open a desk over a copy of the store without answers."""
    opened: list[Desk] = []

    def make(**options: Any) -> Desk:
        folder = tmp_path / "store"
        if not folder.exists():
            shutil.copytree(bare_store.path, folder)
        answers = options.pop("answers", tmp_path / "answers.sqlite")
        made = open_desk(Store(folder), options.pop("source", FolderSource(images)), answers, **options)
        opened.append(made)
        return made

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def client(serve: Serve) -> Callable[[Desk], Client]:
    """A client of a server with the pages of a desk."""
    return lambda desk: serve(site((desk.gallery,), label_routes(desk), access_to("127.0.0.1", None)))


@dataclass
class Serving:
    """A command that serves pages, in a process of its own."""

    process: Started
    said: Path
    told: int = 0

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()

    def wait_for(self, words: str, timeout: float = 60) -> str:
        """What it said up to the end of the line with these words."""
        end = time.monotonic() + timeout
        while words not in (text := self.said.read_text()) or not text.endswith("\n"):
            assert self.process.poll() is None and time.monotonic() < end, text
            time.sleep(0.01)
        self.told = len(text)
        return text

    def ended(self) -> str:
        """What it said since then, once it has ended."""
        self.process.wait(20)
        return self.said.read_text()[self.told :]


Launched = tuple[Client, Serving, str]


@pytest.fixture
def launch(warm: Warm, tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Start a command that serves pages, from the words after `python`: a client, the process, what it told first."""
    running: list[Serving] = []

    def start(*words: object) -> Launched:
        said = tmp_path / f"said-{len(running)}.txt"
        said.touch()
        serving = Serving(warm.start(*words, out=said, err=said), said)
        running.append(serving)
        told = serving.wait_for("open http")
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
        assert address, told
        return Client(int(address[1])), serving, told

    yield start
    for serving in running:
        serving.kill()
        serving.process.wait(10)

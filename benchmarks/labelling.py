"""People who answer in the browser at once: does an answer get lost, and how long does a page take?

    python -m benchmarks.labelling [--people 50] [--seconds 60] [--think 0] [--classes 10] [--images 10] [--pictures]

Starts `salient-imagenet label` over a store of so many classes (five pairs each) with photographs of 500 x 375 pixels,
and in this process so many threads, each a person with one connection: a page, with --pictures its ten pictures,
--think seconds of looking (between half and one and a half of it), the answer, the next page. Prints quantiles of the
time that pages and pictures took in milliseconds, answers a second, and the load of the machine; ends with status 1 if
an answer that was said to be saved is not in the file, or one is there that nobody gave.
"""

from __future__ import annotations

import argparse
import html
import http.client
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from benchmarks.synthetic import write_photos, write_store
from salient_imagenet_data.app.label.book import read_book

ANSWERS = ("main_object", "separate_object", "background")


@dataclass
class Seen:
    """What all people saw: seconds of pages and of pictures, and what they said: person, class, feature, answer."""

    pages: list[float] = field(default_factory=list)
    pictures: list[float] = field(default_factory=list)
    said: list[tuple[str, int, int, str]] = field(default_factory=list)


def photographs(folder: Path, classes: int, per_class: int) -> None:
    """A class of photographs, and links to it for the others."""
    write_photos(folder, 1, per_class)
    for label in range(1, classes):
        (folder / f"c{label:04d}").mkdir()
        for path in sorted((folder / "c0000").iterdir()):
            os.link(path, folder / f"c{label:04d}" / path.name)


def person(port: int, number: int, end: float, think: float, pictures: bool, seen: Seen, lock: threading.Lock) -> None:
    """One person, until the time is over or nothing is left."""
    name, chance = f"p{number}", random.Random(number)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(method: str, path: str, body: str | None = None) -> tuple[int, str, str, float]:
        start = time.perf_counter()
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body, kind)
        reply = connection.getresponse()
        data = reply.read()
        took = time.perf_counter() - start
        return reply.status, reply.getheader("location") or "", data.decode("utf-8", "replace"), took

    time.sleep(chance.random() * think)
    address = f"/label?annotator={name}"
    while time.monotonic() < end:
        _, _, page, took = ask("GET", address)
        with lock:
            seen.pages.append(took)
        if 'id="answer"' not in page:
            return
        if pictures:
            for source in re.findall(r'<img class="(?:photo|layer)" src="([^"]+)"', page):
                *_, took = ask("GET", html.unescape(source))
                with lock:
                    seen.pictures.append(took)
        time.sleep(think * (0.5 + chance.random()))
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))
        answer = ANSWERS[chance.randrange(3)]
        status, address, _, _ = ask("POST", "/label", urlencode({**hidden, "action": "answer", "answer": answer}))
        if status != 303:
            raise RuntimeError(f"{name}: status {status}")
        if "said=saved" in address:
            with lock:
                seen.said.append((name, int(hidden["class"]), int(hidden["feature"]), answer))


def told(what: str, seconds: list[float]) -> str:
    """Quantiles in milliseconds."""
    if not seconds:
        return f"{what}: none"
    middle, high, most = np.quantile(np.array(seconds) * 1000, [0.5, 0.95, 1.0])
    return f"{what}: {len(seconds)}, median {middle:.0f} ms, 95 % {high:.0f} ms, longest {most:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser()
    for option, kind, default in (
        ("--people", int, 50),
        ("--seconds", float, 60.0),
        ("--think", float, 0.0),
        ("--classes", int, 10),
        ("--images", int, 10),
    ):
        parser.add_argument(option, type=kind, default=default)
    parser.add_argument("--pictures", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="labelling-") as place:
        folder = Path(place)
        photographs(folder / "images", given.classes, given.images)
        write_store(folder / "store", given.classes, given.images)
        line = [sys.executable, "-m", "salient_imagenet_data.cli", "label", str(folder / "store")]
        line += ["--images", str(folder / "images"), "--port", "0", "--no-browser", "--repeats", "0"]
        line += ["--annotators-per-pair", str(given.people)]
        server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert server.stdout is not None
            address = next(m for text in server.stdout if (m := re.search(r"http://127\.0\.0\.1:(\d+)/", text)))
            seen, lock, load = Seen(), threading.Lock(), os.getloadavg()[0]
            begin = time.monotonic()
            rest = (begin + given.seconds, given.think, given.pictures, seen, lock)
            people = [threading.Thread(target=person, args=(int(address[1]), n, *rest)) for n in range(given.people)]
            for thread in people:
                thread.start()
            for thread in people:
                thread.join()
            took = time.monotonic() - begin
        finally:
            server.kill()
            server.wait()
        kept = [(row.annotator, *row.task.pair, row.answer) for row in read_book(folder / "store.answers.sqlite").rows]
    print(f"{given.people} people, {given.classes * 5} pairs, looking {given.think:g} s; {took:.0f} s")
    print(told("pages", seen.pages))
    print(told("pictures", seen.pictures))
    rate, after = len(seen.said) / took, os.getloadavg()[0]
    print(f"answers: {len(seen.said)}, {rate:.0f} a second; load {load:.1f}, at the end {after:.1f}")
    lost, strange = len(set(seen.said) - set(kept)), len(kept) - len(set(kept) & set(seen.said))
    print(f"lost: {lost}; nobody's: {strange}")
    return 1 if lost or strange else 0


if __name__ == "__main__":
    sys.exit(main())

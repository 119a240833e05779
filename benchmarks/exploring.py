"""What it costs to look into a store of the full edition's shape with `salient-imagenet explore`.

    python -m benchmarks.exploring [--images 1281000] [--store FOLDER]

Makes a store of 1000 classes with made maps (or takes one that is there), starts the command in a process of its own,
and prints: seconds from the start of the process to the first page, which is asked for again and again until it comes,
and how long processors worked for it, since other work slows the clock only; then, five seconds later, of each kind of
page the milliseconds of the first request and the median and the slowest of further ones, all of other classes,
features or images; the same of pictures, of maps alone and over photographs of 500 x 375 pixels, of which the first
class has thirty; and the most memory that the process ever held.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.synthetic import FEATURES, write_photos, write_store
from salient_imagenet_data.app.serving import listen

COUNT = 30
"""Requests of each kind."""


def ask(port: int, path: str) -> tuple[float, int]:
    """Milliseconds and bytes of one request. Raises OSError where nobody listens yet."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    if reply.status != 200:
        raise SystemExit(f"{path}: {reply.status} {data[:200]!r}")
    return (time.perf_counter() - start) * 1000, len(data)


@contextmanager
def server(store: Path, *options: str) -> Iterator[tuple[int, tuple[float, float], int]]:
    """The command on a free port, with the seconds until its first page came, of the clock and of processors, and its
    process id."""
    free = listen("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    line = [sys.executable, "-m", "salient_imagenet_data.cli", "explore", str(store), "--port", str(port)]
    start = time.perf_counter()
    process = subprocess.Popen([*line, "--no-browser", *options], stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                ask(port, "/")
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit("the command ended") from None
                time.sleep(0.01)
        first = time.perf_counter() - start
        used = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        yield port, (first, sum(map(int, used)) / os.sysconf("SC_CLK_TCK")), process.pid
    finally:
        process.kill()
        process.wait(10)


def pages(rng: random.Random, classes: int, rows: int) -> dict[str, list[str]]:
    """Addresses by kind."""
    some = [rng.randrange(classes) for _ in range(COUNT)]
    return {
        "first page, again": ["/"] * COUNT,
        "class": [f"/class/{c}" for c in some],
        "feature": [f"/feature/{c}/{rng.randrange(FEATURES)}?page={rng.randrange(1, 60)}" for c in some],
        "image": [f"/image/{rng.randrange(rows)}?step={rng.randrange(20)}" for _ in some],
        "search": [f"/search?q={words}" for words in ("c0", "spurious", *(f"c{c:04d}" for c in some[2:]))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_000)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exploring-") as folder:
        classes = 1000
        path = options.store or Path(folder) / "store"
        if not path.exists():
            write_store(path, classes, options.images // classes)
        rows, rng = options.images // classes * classes, random.Random(0)
        for _ in range(3):
            with server(path) as (_, (first, used), _pid):
                print(f"from start to the first page: {first:.2f} s, {used:.2f} s of processors")
        photos = Path(folder) / "photos"
        write_photos(photos, 1, COUNT)
        with server(path, "--images", str(photos)) as (port, _, pid):
            time.sleep(5)  # a person looks at the first page, and the columns are read
            print("| page | first, ms | median, ms | slowest, ms | KB |")
            print("| --- | --- | --- | --- | --- |")
            given = pages(rng, classes, rows)
            stamp = _stamp(port)
            alone = [rng.randrange(COUNT, rows) for _ in range(COUNT)]
            for kind, chosen in (("map alone", alone), ("map over a photograph", range(COUNT))):
                given[kind] = [f"/pictures/{stamp}/{row}/{row % FEATURES}/feature-0-256.jpg" for row in chosen]
            for kind, paths in given.items():
                found = [ask(port, one) for one in paths]
                times = [milliseconds for milliseconds, _ in found]
                figures = (times[0], statistics.median(times[1:]), max(times[1:]), max(n for _, n in found) / 1000)
                print(f"| {kind} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")
            status = Path(f"/proc/{pid}/status").read_text()
            (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
            print(f"memory at its highest: {int(peak.split()[1]) / 1024:.0f} MiB")


def _stamp(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/search")
    text = connection.getresponse().read().decode()
    return text.partition("/pictures/")[2].partition("/")[0]


if __name__ == "__main__":
    main()

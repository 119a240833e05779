"""Feature attacks beside the heat maps: made in the background, those first that somebody looks at, within a bound."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from salient_imagenet_data.annotation.sheets import top_rows
from salient_imagenet_data.app.gallery import encoded_jpeg
from salient_imagenet_data.app.label.attacks import Attacks, Progress
from salient_imagenet_data.app.label.desk import Desk
from salient_imagenet_data.app.label.records import Pair
from tests.app.conftest import Client, OpenDesk
from tests.app.label.reading import open_page, pair_of

Served = Callable[[Desk], Client]
PAIRS = tuple(Pair(0, f) for f in range(6))
GRAY = np.full((8, 8, 3), 128, np.uint8)


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def negative(crops: list[np.ndarray], features: list[int]) -> list[np.ndarray]:
    return [255 - crop for crop in crops]


def test_a_page_shows_them_once_they_are_made_and_waits_for_none(desk: OpenDesk, client: Served) -> None:
    go, asked = threading.Event(), []

    def slow(crops: list[np.ndarray], features: list[int]) -> list[np.ndarray]:
        go.wait(20)
        asked.append(features)
        return negative(crops, features)

    one = desk(attack=slow)
    server = client(one)
    page = open_page(server, "ada")  # comes while the first pair's are being made
    c, f = pair_of(page)
    assert f'hx-get="/attacks/{c}/{f}" hx-trigger="every 2s"' in page and "Being made; 0 of 40 pairs" in page
    assert server.get(f"/attacks/{c}/{f}/1.jpg").status == 404
    go.set()
    assert until(lambda: "<img" in server.get(f"/attacks/{c}/{f}").text)
    part = server.get(f"/attacks/{c}/{f}").text
    assert "hx-get" not in part and part.strip().startswith('<section id="attacks"')
    addresses = re.findall(r'src="([^"]+)"', part)
    store, slot = one.store, one.kinds[Pair(c, f)].slot
    assert len(addresses) == 4 and asked[0] == [f] * 4
    for address, row in zip(addresses, top_rows(store, c, slot), strict=True):
        with Image.open(io.BytesIO(server.get(address).body)) as shown:
            wanted = 255 - one.gallery.joined.crop(int(row)).astype(int)
            assert np.abs(np.asarray(shown).astype(int) - wanted).mean() < 4
    assert addresses[0] in open_page(server, "ada") and server.get(f"/attacks/{c}/{f}/5.jpg").status == 404
    assert server.get("/attacks/0/999").status == 400 and server.get("/attacks/x/1/1.jpg").status == 400
    assert until(lambda: one.attacks is not None and one.attacks.progress == Progress(40, 40, 0))


def test_without_weights_and_in_the_wide_round_there_are_none(desk: OpenDesk, client: Served) -> None:
    server = client(desk())
    page = open_page(server, "ada")
    c, f = pair_of(page)
    assert 'id="attacks"' not in page and server.get(f"/attacks/{c}/{f}").text.strip() == ""
    server = client(desk(attack=negative))
    assert 'id="attacks"' in open_page(server, "bob")
    assert 'id="attacks"' not in server.get(f"/label?annotator=bob&class={c}&feature={f}&round=wide").text


def test_what_cannot_be_made_is_said_and_the_others_are_made(desk: OpenDesk, client: Served) -> None:
    broken = desk().plan.order[0]

    def fails(crops: list[np.ndarray], features: list[int]) -> list[np.ndarray]:
        if features[0] == broken.feature_index:
            raise RuntimeError("out of <memory>")
        return crops

    one = desk(attack=fails)
    server = client(one)
    assert one.attacks is not None and until(
        lambda: sum(vars(one.attacks.progress)[n] for n in ("made", "failed")) == 40
    )
    assert "They could not be made: RuntimeError: out of &lt;memory&gt;" in open_page(server, "ada")
    assert one.attacks.progress.failed >= 1


def test_the_pair_that_somebody_looks_at_is_made_before_those_in_order() -> None:
    go, begun, order = threading.Event(), threading.Event(), []

    def make(crops: list[np.ndarray], features: list[int]) -> list[np.ndarray]:
        order.append(features[0])
        begun.set()
        go.wait(20)
        return crops

    attacks = Attacks(make, lambda pair: [GRAY], encoded_jpeg, PAIRS)
    attacks.start()
    assert begun.wait(20) and attacks.of(PAIRS[3]) is None and attacks.of(PAIRS[5]) is None
    go.set()
    assert until(lambda: attacks.progress.made == 6)
    assert order == [0, 5, 3, 1, 2, 4]
    attacks.close()


def test_what_is_kept_has_a_bound_and_what_is_asked_for_takes_the_oldest_place() -> None:
    size = len(encoded_jpeg(255 - GRAY))
    attacks = Attacks(negative, lambda pair: [GRAY], encoded_jpeg, PAIRS, most_bytes=3 * size)
    attacks.start()
    assert until(lambda: attacks.progress.made == 3)
    time.sleep(0.05)
    assert attacks.progress == Progress(3, 6, 0)  # no more than fit are made ahead
    assert attacks.of(PAIRS[0]) is not None and attacks.of(PAIRS[5]) is None  # the first is now the one used last
    assert until(lambda: attacks.of(PAIRS[5]) is not None)
    assert attacks.progress.made == 3 and attacks.of(PAIRS[0]) is not None and attacks.of(PAIRS[1]) is None
    attacks.close()

"""The pictures of the next pair are there before it is asked for, and nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from salient_imagenet_data.app.label.ahead import MOST_WAITING, Ahead
from salient_imagenet_data.app.label.assigning import Lease, Plan, then_task
from salient_imagenet_data.app.label.desk import Desk
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.records import Pair, Row, Task
from tests.app.conftest import Client, OpenDesk
from tests.app.label.reading import open_page, pair_of, send

Served = Callable[[Desk], Client]
PAIRS = tuple(Pair(c, 7) for c in range(4))


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_what_follows_is_the_next_open_pair_that_is_not_looked_at() -> None:
    plan, ledger = Plan(PAIRS, repeats=0), Ledger()
    look = {"ada": Lease(Task(PAIRS[0], "first"), 0.0), "bob": Lease(Task(PAIRS[1], "first"), 0.0)}
    assert then_task(ledger, "ada", plan, look, 1.0) == Task(PAIRS[2], "first")  # the second is bob's
    assert then_task(ledger, "cy", plan, {}, 1.0) == Task(PAIRS[0], "first")
    for n, pair in enumerate(PAIRS[2:]):
        ledger.add(Row(n, 0.0, "ada", Task(pair, "first"), "background", None, "", 1.0, f"t{n}"))
    assert then_task(ledger, "ada", plan, look, 1.0) is None


def test_the_next_pairs_pictures_are_drawn_while_a_person_looks(desk: OpenDesk, client: Served) -> None:
    one = desk(repeats=0)
    server, drawn = client(one), []
    draw = one.gallery._drawn
    one.gallery._drawn = lambda *key: drawn.append(key) or draw(*key)  # type: ignore[assignment, func-returns-value, misc]
    page = open_page(server, "ada")
    assert one.ahead is not None and until(lambda: one.ahead.done == 1)
    # Nothing was asked for yet, and the four photographs of the second pair are drawn with and without their map.
    assert len(drawn) == 8
    send(server, page, answer="background")
    second = open_page(server, "ada")
    assert pair_of(second) != pair_of(page) and until(lambda: one.ahead.done == 2)
    before = len(drawn)
    addresses = [part.split('"')[0] for part in second.split('src="')[1:] if part.startswith("/pictures/")]
    wanted = [a for a in addresses if "loading" not in a][:8]
    assert len(wanted) == 8 and all(server.get(address).status == 200 for address in wanted)
    assert len(drawn) == before


def test_one_person_waits_once_and_many_have_a_bound() -> None:
    begun, go, worked = threading.Event(), threading.Event(), []

    def work(annotator: str, view: str) -> None:
        begun.set()
        go.wait(20)
        worked.append((annotator, view))
        if annotator == "p3":
            raise RuntimeError("told elsewhere")

    ahead = Ahead(work)
    ahead.ask("first", "side")
    assert begun.wait(20)
    for view in ("side", "contour"):
        for number in range(MOST_WAITING + 3):
            ahead.ask(f"p{number}", view)
    go.set()
    assert until(lambda: ahead.done == MOST_WAITING + 1)
    assert worked == [("first", "side"), *((f"p{number}", "contour") for number in range(3, MOST_WAITING + 3))]
    ahead.close()
    ahead.ask("late", "side")
    time.sleep(0.05)
    assert ahead.done == MOST_WAITING + 1

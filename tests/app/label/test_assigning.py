"""Who is asked what: on ledgers typed by hand, and by chance with many people at once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from salient_imagenet_data.app.label.assigning import LEASE, Lease, Plan, _of_others, _Position, drawn, left, next_task
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.records import SKIPPED, WITHDRAWN, Pair, Round, Row, Task

PAIRS = tuple(Pair(c, f) for c in range(4) for f in (7, 3, 5))
NONE = Plan(PAIRS, repeats=0)


class Hand:
    """A ledger that is written row by row."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    def say(self, who: str, pair: Pair, answer: str = "background", round_name: Round = "first") -> None:
        n = len(self.ledger.rows) + 1
        self.ledger.add(Row(n, float(n), who, Task(pair, round_name), answer, None, "", 1.0, f"t{n}"))

    def next(self, who: str, plan: Plan, leases: dict[str, Lease] | None = None, now: float = 0.0) -> Task | None:
        return next_task(self.ledger, who, plan, leases or {}, now)


def test_pairs_come_in_order_and_each_goes_to_as_many_people_as_the_plan_says() -> None:
    hand, plan = Hand(), Plan(PAIRS[:2], per_pair=2, repeats=0)
    assert hand.next("ada", plan) == Task(PAIRS[0], "first")
    hand.say("ada", PAIRS[0])
    assert hand.next("ada", plan) == Task(PAIRS[1], "first") and hand.next("bob", plan) == Task(PAIRS[0], "first")
    hand.say("bob", PAIRS[0])
    assert hand.next("cy", plan) == Task(PAIRS[1], "first")
    for who in ("cy", "ada"):
        hand.say(who, PAIRS[1])
    assert hand.next("bob", plan) is None and hand.next("dan", plan) is None
    assert left(hand.ledger, "dan", plan, {}, 0.0) == 0


def test_what_somebody_looks_at_is_theirs_until_it_is_too_long() -> None:
    hand, leases = Hand(), {"ada": Lease(Task(PAIRS[0], "first"), 100.0)}
    assert hand.next("ada", NONE, leases, 101.0) == Task(PAIRS[0], "first")
    assert hand.next("bob", NONE, leases, 101.0) == Task(PAIRS[1], "first")
    assert hand.next("bob", NONE, leases, 100.0 + LEASE) == Task(PAIRS[0], "first")
    two = Plan(PAIRS, per_pair=2, repeats=0)
    assert hand.next("bob", two, leases, 101.0) == Task(PAIRS[0], "first")
    hand.say("ada", PAIRS[3])
    assert hand.next("ada", NONE, leases, 101.0) == Task(PAIRS[0], "first")  # also when the order says another one


def test_a_skipped_pair_comes_back_once_at_the_end_and_one_taken_back_at_once() -> None:
    hand, plan = Hand(), Plan(PAIRS[:3], repeats=0)
    hand.say("ada", PAIRS[0], SKIPPED)
    hand.say("ada", PAIRS[1])
    assert hand.next("ada", plan) == Task(PAIRS[2], "first")
    hand.say("ada", PAIRS[1], WITHDRAWN)
    assert hand.next("ada", plan) == Task(PAIRS[1], "first")
    hand.say("ada", PAIRS[1])
    hand.say("ada", PAIRS[2])
    assert hand.next("ada", plan) == Task(PAIRS[0], "first")
    assert left(hand.ledger, "ada", plan, {}, 0.0) == 1
    hand.say("ada", PAIRS[0], SKIPPED)
    assert hand.next("ada", plan) is None and left(hand.ledger, "ada", plan, {}, 0.0) == 0
    assert hand.next("bob", plan) == Task(PAIRS[0], "first")


def test_gold_pairs_are_asked_of_everybody_one_in_five() -> None:
    gold = {PAIRS[10]: "background", PAIRS[11]: "main_object"}
    for who in ("ada", "bob"):
        hand, plan = Hand(), Plan(PAIRS, gold=gold, repeats=0)
        hand.say("zoe", PAIRS[10])  # one person has answered: for another pair that is enough
        asked = []
        for _ in range(6):
            task = hand.next(who, plan)
            assert task is not None
            asked.append(task.pair)
            hand.say(who, task.pair)
        assert asked == [*PAIRS[:4], PAIRS[10], PAIRS[4]]


def test_repetitions_are_of_the_persons_own_answers_well_apart() -> None:
    pairs = tuple(Pair(0, f) for f in range(100))
    hand, plan = Hand(), Plan(pairs, repeats=0.1)
    tasks: list[Task] = []
    while (task := hand.next("ada", plan)) is not None:
        assert left(hand.ledger, "ada", plan, {}, 0.0) == 110 - len(tasks)
        tasks.append(task)
        hand.say("ada", task.pair, "background", task.round)
    again = [task for task in tasks if task.round == "repeat"]
    assert len(again) == len(set(again)) == 10 and len(tasks) == 110
    for task in again:
        assert tasks.index(task) - tasks.index(Task(task.pair, "first")) > 10
    assert [task.pair for task in again] != sorted(task.pair for task in again)


def test_other_images_are_asked_after_all_the_rest() -> None:
    hand, plan = Hand(), Plan(PAIRS[:2], repeats=0, wide=(PAIRS[1],))
    for pair in PAIRS[:2]:
        task = hand.next("ada", plan)
        assert task == Task(pair, "first")
        hand.say("ada", pair)
    assert hand.next("ada", plan) == Task(PAIRS[1], "wide")
    hand.say("bob", PAIRS[1], "background", "wide")
    assert hand.next("ada", plan) is None


def test_a_draw_is_the_same_each_time_and_a_larger_one_holds_it() -> None:
    assert drawn(PAIRS, 5) == drawn(reversed(PAIRS), 5) == drawn(PAIRS, 8)[:5] and drawn(PAIRS, 5) != PAIRS[:5]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["answer", "skip", "look", "away"])), max_size=150),
    st.integers(1, 3),
)
def test_no_pair_is_asked_of_too_many_or_twice_of_one(steps: list[tuple[int, str]], per_pair: int) -> None:
    """Whatever the people do, in whatever order: answers never exceed the plan, and nobody answers a pair twice."""
    hand, plan, leases, now = Hand(), Plan(PAIRS, per_pair=per_pair, repeats=0), {}, 0.0
    for person, what in steps:
        who, now = f"p{person}", now + 1.0
        task = hand.next(who, plan, leases, now)
        if task is None:
            leases.pop(who, None)
            continue
        leases[who] = Lease(task, now)
        held = Counter(lease.task for lease in leases.values())
        assert hand.ledger.count(task) + held[task] <= per_pair
        if what in ("answer", "skip"):
            assert hand.ledger.newest(who, task) is None or hand.ledger.newest(who, task).answer == SKIPPED  # type: ignore[union-attr]
            hand.say(who, task.pair, SKIPPED if what == "skip" else "background")
            leases.pop(who)
    assert all(hand.ledger.count(Task(pair, "first")) <= per_pair for pair in PAIRS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 5), st.sampled_from(["background", SKIPPED, WITHDRAWN]), st.booleans()
        ),
        max_size=40,
    ),
    st.integers(1, 3),
)
def test_what_is_closed_is_what_is_not_open_one_by_one(steps: list[tuple[int, int, str, bool]], per_pair: int) -> None:
    """With gold pairs and leases, on a ledger that grows while the sets are asked for."""
    hand, leases = Hand(), dict[str, Lease]()
    pairs, gold = PAIRS[:6], {PAIRS[0]: "background", PAIRS[3]: "main_object"}
    plan = Plan(pairs, per_pair=per_pair, gold=gold, repeats=0)
    for person, number, answer, looks in steps:
        who, task = f"p{person}", Task(pairs[number], "first")
        if looks:
            leases[who] = Lease(task, 0.0)
        else:
            hand.say(who, task.pair, answer)
        for name in ("p0", "p1"):
            at = _Position(hand.ledger, name, plan, _of_others(name, leases, 1.0))
            assert at.closed & plan.tasks.keys() == {task for task in plan.tasks if not at.is_open(task)}

"""The pages of answering."""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from salient_imagenet_data.app.forms import fields_of, is_token, token_for
from salient_imagenet_data.app.gallery import SIZES, STEPS, Drawing, picture_address
from salient_imagenet_data.app.label.ahead import Ahead
from salient_imagenet_data.app.label.desk import (
    LONGEST_NAME,
    LONGEST_REASON,
    Desk,
    checked_name,
    reasons_of,
    task_of,
)
from salient_imagenet_data.app.label.quality import full
from salient_imagenet_data.app.label.records import SKIPPED, WITHDRAWN, Row, Task
from salient_imagenet_data.app.label.results import apply, export, results
from salient_imagenet_data.app.pages import page, trouble
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import ANSWERS, BACKGROUND, MAIN_OBJECT, SEPARATE_OBJECT

VIEWS: dict[str, tuple[str, Drawing, int]] = {
    "side": ("side by side", "heat", 0),
    "contour": ("contour", "contour", STEPS // 2),
    "overlay": ("heat map over it", "heat", 0),
}
"""How a map is shown: in words, what is drawn, and where it is cut to begin with. The first is shown unasked, since a
photograph in its colours is easier to judge."""
FIRST_VIEW = next(iter(VIEWS))
MEANT = {
    MAIN_OBJECT: ("{name} itself, or a part of it", "core"),
    SEPARATE_OBJECT: ("another object beside it", "spurious"),
    BACKGROUND: ("the background", "spurious"),
}
"""What the three answers say, and what they make of a feature."""
LATEST = 20
"""Answers from whose median time the time left is told."""
Handler = Callable[[Desk, Request], Awaitable[Response]]


def label_routes(desk: Desk) -> list[BaseRoute]:
    """All of them."""

    desk.ahead = Ahead(partial(_draw_ahead, desk))

    def bound(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return await handler(desk, request)

        return handle

    return [
        Route("/", bound(_start)),
        Route("/label", bound(_question)),
        Route("/label", bound(_answer), methods=["POST"]),
        Route("/attacks/{class_index}/{feature_index}", bound(_attacks)),
        Route("/attacks/{class_index}/{feature_index}/{place:int}.jpg", bound(_attack)),
        Route("/results", bound(results)),
        Route("/export/{name}", bound(export)),
        Route("/apply", bound(apply), methods=["POST"]),
    ]


async def _start(desk: Desk, request: Request) -> Response:
    if desk.annotator is not None:
        return RedirectResponse("/label", 303)
    with desk.book.reading() as ledger:
        people = [{"name": name, "address": _address(name)} for name in ledger.annotators]
    return page("start.html", people=people, longest=LONGEST_NAME, progress=_whole(desk), **_frame(desk))


async def _question(desk: Desk, request: Request) -> Response:
    query = request.query_params
    if not query.get("annotator") and desk.annotator is None:
        return RedirectResponse("/", 303)
    annotator = checked_name(query.get("annotator") or str(desk.annotator))
    return await run_in_threadpool(_shown, desk, annotator, dict(query))


def _shown(desk: Desk, annotator: str, query: dict[str, str]) -> Response:
    """The page of a task that the address names, or of the next one."""
    view = query.get("view", "")
    view = view if view in VIEWS else FIRST_VIEW
    if "class" in query:
        task = task_of(desk, query["class"], query.get("feature", ""), query.get("round", "first"))
        desk.book.look_at(annotator, task)
    else:
        found = desk.book.next_task(annotator, desk.plan)
        if found is None:
            with desk.book.reading() as ledger:
                rows = ledger.of(annotator)
            back = _back(desk, annotator, rows, None, view)
            return page("done.html", annotator=annotator, back=back, progress=_own(desk, annotator), **_frame(desk))
        task = found
    said = query.get("said", "")
    made = _page_of(desk, annotator, task, view, said if said in SAID else "")
    if desk.ahead is not None:
        desk.ahead.ask(annotator, view)
    return made


def _draw_ahead(desk: Desk, annotator: str, view: str) -> None:
    """The pictures of what a person is likely asked next."""
    task = desk.book.then_task(annotator, desk.plan)
    if task is None:
        return
    slot, (drawing, step) = desk.kinds[task.pair].slot, VIEWS[view][1:]
    for row in desk.rows_of(task):
        desk.gallery.jpeg(row, slot, "photo", 0, SIZES[0])
        desk.gallery.jpeg(row, slot, drawing, step, SIZES[0])


def _attacks_of(desk: Desk, task: Task) -> dict[str, Any] | None:
    """What a page says of a pair's feature attacks; None where there are none to be had: no weights were given, or the
    page shows other images than those that are attacked."""
    if desk.attacks is None or task.round == "wide":
        return None
    made, progress = desk.attacks.of(task.pair), desk.attacks.progress
    address = f"/attacks/{task.pair.class_index}/{task.pair.feature_index}"
    return {
        "address": address,
        "pictures": [f"{address}/{place}.jpg" for place in range(1, len(made or ()) + 1)],
        "waiting": made is None and desk.attacks.trouble(task.pair) is None,
        "trouble": desk.attacks.trouble(task.pair),
        "progress": progress,
    }


async def _attacks(desk: Desk, request: Request) -> Response:
    """The part of a page with a pair's attacks, which asks for itself again while they are being made."""
    path = request.path_params
    task = task_of(desk, path["class_index"], path["feature_index"], "first")
    return page("attacks.html", attacks=_attacks_of(desk, task), name=desk.names[task.pair.class_index])


async def _attack(desk: Desk, request: Request) -> Response:
    """One changed photograph."""
    path = request.path_params
    task = task_of(desk, path["class_index"], path["feature_index"], "first")
    made = None if desk.attacks is None else desk.attacks.of(task.pair)
    if made is None or not 0 < path["place"] <= len(made):
        return Response("There is no such picture.", 404, media_type="text/plain")
    return Response(made[path["place"] - 1], media_type="image/jpeg")


def _page_of(
    desk: Desk,
    annotator: str,
    task: Task,
    view: str,
    said: str = "",
    typed: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    """typed: what was in the form, where it could not be saved. said: one line above the question."""
    with desk.book.reading() as ledger:
        rows, earlier = ledger.of(annotator), ledger.newest(annotator, task)
    feature, name = desk.kinds[task.pair], desk.names[task.pair.class_index]
    known = typed or {}
    if not known and earlier is not None and earlier.answered:
        known = {"answer": earlier.answer, "confidence": str(earlier.confidence or ""), "reason": earlier.reason}
    shown = desk.rows_of(task)
    tiles = [_tile(desk, row, feature.slot, view, place) for place, row in enumerate(shown, start=1)]
    others = [picture_address(desk.gallery, row, 0, "photo", 0, SIZES[0]) for row in desk.other_rows(task)]
    answers = [
        {"value": value, "words": MEANT[value][0].format(name=name), "makes": MEANT[value][1]} for value in ANSWERS
    ]
    return page(
        "pair.html",
        status,
        annotator=annotator,
        task=task,
        name=name,
        definition=desk.definitions.get(feature.class_name, ""),
        tiles=tiles,
        attacks=_attacks_of(desk, task),
        others=others,
        answers=answers,
        known={"answer": "", "confidence": "", "reason": ""} | known,
        again=earlier is not None and earlier.answered,
        reasons=reasons_of(rows),
        ticket=known.get("ticket") or secrets.token_hex(8),
        token=token_for(desk.book.secret, annotator),
        view=view,
        views={key: {"words": v[0], "address": _address(annotator, task, view=key)} for key, v in VIEWS.items()},
        step=VIEWS[view][2],
        steps=STEPS,
        back=_back(desk, annotator, rows, task, view),
        longest=LONGEST_REASON,
        progress=_own(desk, annotator),
        said=said if said in SAID else "",
        words=SAID.get(said, said),
        **_frame(desk),
    )


SAID = {
    "saved": "Saved.",
    "changed": "Saved in place of your earlier answer, which stays in the file.",
    "twice": "This page was answered before; the first answer stands.",
    "withdrawn": "Taken back. Answer anew, or skip.",
    "skipped": "Skipped; it comes back at the end.",
}
"""What a page may say of what was done last, by the word in its address."""


async def _answer(desk: Desk, request: Request) -> Response:
    fields = await fields_of(request)
    annotator = checked_name(fields.get("annotator", ""))
    if not is_token(fields.get("token", ""), desk.book.secret, annotator):
        return trouble("This form is not of a page of this server; open the page anew.", 403, back=_address(annotator))
    task = task_of(desk, fields.get("class", ""), fields.get("feature", ""), fields.get("round", ""))
    return await run_in_threadpool(_written, desk, annotator, task, fields)


def _written(desk: Desk, annotator: str, task: Task, fields: dict[str, str]) -> Response:
    view = fields["view"] if fields.get("view") in VIEWS else FIRST_VIEW
    try:
        row, said = _write(desk, annotator, task, fields)
    except SalientError as error:
        # What was typed stays on the page: it is sent again once the trouble is gone.
        return _page_of(desk, annotator, task, view, f"Not saved: {error}", fields, 422)
    stays = task if row is not None and row.answer == WITHDRAWN else None
    return RedirectResponse(_address(annotator, stays, said=said, view=view), 303)


def _write(desk: Desk, annotator: str, task: Task, fields: dict[str, str]) -> tuple[Row | None, str]:
    """The row that was written, and what to say of it."""
    action, ticket = fields.get("action", "answer"), fields.get("ticket", "")
    if not (8 <= len(ticket) <= 64 and ticket.isalnum() and ticket.isascii()):
        raise SalientError("the form has no ticket", then="open the page anew")
    with desk.book.reading() as ledger:
        before = ledger.newest(annotator, task)
    said_before = before is not None and before.answered
    if action == "withdraw":
        if not said_before:
            raise SalientError("nothing to take back", expected="an answer of yours about this pair")
        return desk.book.add(annotator, task, WITHDRAWN, ticket=ticket), "withdrawn"
    if action == "skip":
        # One does not lose an answer by skipping past it.
        return (None if said_before else desk.book.add(annotator, task, SKIPPED, ticket=ticket)), "skipped"
    if action != "answer":
        raise SalientError("no such action", expected="answer, skip or withdraw", got=repr(action[:40]))
    answer, confidence, reason = _checked(fields)
    if before is not None and (before.answer, before.confidence, before.reason) == (answer, confidence, reason):
        return None, "saved"  # the same again
    shown = desk.ids_of(desk.rows_of(task))
    row = desk.book.add(annotator, task, answer, confidence=confidence, reason=reason, ticket=ticket, shown=shown)
    return row, "twice" if row is None else "changed" if said_before else "saved"


def _checked(fields: dict[str, str]) -> tuple[str, int | None, str]:
    answer, sure = fields.get("answer", ""), fields.get("confidence", "")
    reason = " ".join(fields.get("reason", "").split())
    if answer not in ANSWERS:
        raise SalientError("choose one of the three answers", got=repr(answer[:40]) if answer else "none")
    if sure not in ("", "1", "2", "3", "4", "5"):
        raise SalientError("confidence", expected="1 to 5, or nothing", got=repr(sure[:40]))
    if len(reason) > LONGEST_REASON:
        raise SalientError(
            "the reason is too long", expected=f"at most {LONGEST_REASON} characters", got=str(len(reason))
        )
    if not reason.isprintable():
        raise SalientError("the reason holds characters that cannot be printed", then="type it anew")
    return answer, int(sure) if sure else None, reason


def _tile(desk: Desk, row: int, slot: int, view: str, place: int) -> dict[str, Any]:
    drawing, step = VIEWS[view][1:]
    address = {which: picture_address(desk.gallery, row, slot, which, step, SIZES[0]) for which in ("photo", drawing)}
    large = picture_address(desk.gallery, row, slot, drawing, step, SIZES[1])
    return {"place": place, "photo": address["photo"], "layer": address[drawing], "large": large}


def _frame(desk: Desk) -> dict[str, Any]:
    """What the frame of every page tells."""
    return {"place": str(desk.place), "file": str(desk.book.path), "alone": desk.annotator is not None}


def _own(desk: Desk, annotator: str) -> dict[str, Any]:
    """Where a person stands: answered, left, and minutes left at the pace of the latest answers."""
    open_tasks = desk.book.left(annotator, desk.plan)
    with desk.book.reading() as ledger:
        rows = [row for row in ledger.of(annotator) if row.answered]
    paces = [min(row.seconds, 120.0) for row in rows[-LATEST:] if row.seconds is not None]
    pace = statistics.median(paces) if paces else None
    return {
        "answered": len(rows),
        "left": open_tasks,
        "total": len(rows) + open_tasks,
        "pace": None if pace is None else round(pace, 1),
        "minutes": None if pace is None else -(-int(pace * open_tasks) // 60),
    }


def _whole(desk: Desk) -> dict[str, int]:
    """How many pairs have all their answers."""
    with desk.book.reading() as ledger:
        complete = full(ledger, desk.plan.order, desk.plan.per_pair)
    return {"full": complete, "pairs": len(desk.plan.order), "per_pair": desk.plan.per_pair}


def _back(desk: Desk, annotator: str, rows: list[Row], task: Task | None, view: str) -> str:
    """The address of what the person did before a task; nothing where there is none."""
    done = [row.task for row in rows if row.answer != WITHDRAWN and row.task.pair in desk.kinds]
    if task in done:
        done = done[: done.index(task)]
    return _address(annotator, done[-1], view=view) if done else ""


def _address(annotator: str, task: Task | None = None, **more: str) -> str:
    query: dict[str, str] = {"annotator": annotator}
    if task is not None:
        query |= {
            "class": str(task.pair.class_index),
            "feature": str(task.pair.feature_index),
            "round": task.round,
        }
    return "/label?" + urlencode(query | {key: value for key, value in more.items() if value})

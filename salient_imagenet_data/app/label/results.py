"""The pages and files of what came out: quality, disputes, exports, and applying answers to the store."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from salient_imagenet_data.annotation.applying import Changes, annotate, foreseen, place_to_annotate
from salient_imagenet_data.annotation.label_studio import CONFIG
from salient_imagenet_data.app.forms import fields_of, is_token, token_for
from salient_imagenet_data.app.gallery import SIZES, picture_address
from salient_imagenet_data.app.label.desk import Desk, unknown_in
from salient_imagenet_data.app.label.exporting import NAMES, annotations_in, exported
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.quality import (
    Dispute,
    Name,
    agreements,
    disputes,
    full,
    generalisation,
    named,
    people,
    settled,
)
from salient_imagenet_data.app.label.records import Task
from salient_imagenet_data.app.pages import page, trouble
from salient_imagenet_data.errors import SalientError, many
from salient_imagenet_data.names import Form
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.words.short_names import short_name

APPLY = "\x00apply"
"""In place of a name in the token of the form that applies: nobody can be called so."""
INTERFACE = "label-studio-labelling.xml"
"""What the interface for Label Studio is called."""
MOST, MOST_NAMES = 50, 300
"""Pairs in dispute, and names, on one page."""


async def results(desk: Desk, request: Request) -> Response:
    """The page of quality."""
    return await run_in_threadpool(_results, desk, request.query_params.get("said", ""))


def _results(desk: Desk, said: str = "", status: int = 200, majority: int | None = None) -> Response:
    majority = majority or desk.majority
    ledger = desk.book.copy()
    numbers, who = agreements(ledger), people(ledger, desk.plan.gold or {})
    (holds, breaks), ended = generalisation(ledger), settled(ledger, desk.plan) & desk.kinds.keys()
    answered, differ = ledger.answered().keys() & desk.kinds.keys(), disputes(ledger)
    found = [one for one in differ if one.pair in ended]
    unseen = [one for one in differ if one.pair in answered - ended]
    complete = full(ledger, desk.plan.order, desk.plan.per_pair)
    names = [_name(desk, one) for one in named(ledger) if one.pair in ended]
    unknown = unknown_in(ledger, desk.store)
    now = desk.as_it_is()
    kinds = [feature.kind for feature in desk.kinds.values()]
    return page(
        "results.html",
        status,
        numbers=numbers,
        people=who,
        names=names[:MOST_NAMES],
        more_names=max(0, len(names) - MOST_NAMES),
        disputes=[_dispute(desk, one) for one in found[:MOST]],
        hidden=len(answered - ended),
        hidden_disputes=len(unseen),
        more=max(0, len(found) - MOST),
        holds=holds,
        breaks=[_named(desk, pair.class_index, pair.feature_index) for pair in breaks],
        complete=complete,
        pairs=len(desk.plan.order),
        per_pair=desk.plan.per_pair,
        majority=majority,
        unknown=unknown,
        **_foreseen(desk, ledger, now, majority),
        kinds={"core": kinds.count("core"), "spurious": kinds.count("spurious"), "open": kinds.count(None)},
        version=now.manifest.data_version,
        token=token_for(desk.book.secret, APPLY),
        said=said[:300],
        wrong=status != 200,
        forms=[*NAMES.values(), INTERFACE],
        place=str(desk.place),
        file=str(desk.book.path),
    )


def _foreseen(desk: Desk, ledger: Ledger, now: Store, majority: int) -> dict[str, object]:
    """What applying would do, for the page: it is said before it is done. fixed: why the store is never changed here.
    trouble: why it cannot be as things stand."""
    ahead, fixed, trouble = Changes(0, 0, 0), "", ""
    try:
        place_to_annotate(desk.place)
    except SalientError as error:
        fixed = str(error)
    try:
        ahead = foreseen(now, annotations_in(ledger, now), majority)
    except SalientError as error:
        trouble = str(error)
    return {"ahead": ahead, "fixed": fixed, "trouble": trouble}


def _named(desk: Desk, class_index: int, feature_index: int) -> str:
    return f"{desk.names[class_index]}, feature {feature_index}"


def _name(desk: Desk, one: Name) -> dict[str, object]:
    return {"of": _named(desk, *one.pair), "kind": one.kind, "words": one.words, "reasons": one.reasons}


def _dispute(desk: Desk, dispute: Dispute) -> dict[str, object]:
    feature, rows = desk.kinds[dispute.pair], desk.rows_of(Task(dispute.pair, "first"))
    pictures = [picture_address(desk.gallery, row, feature.slot, "heat", 0, SIZES[0]) for row in rows]
    return {
        "name": _named(desk, *dispute.pair),
        "words": short_name(row.reason for row in dispute.rows),
        "pictures": pictures,
        "rows": dispute.rows,
        "votes": dispute.votes,
        "kind": dispute.kind,
    }


async def export(desk: Desk, request: Request) -> Response:
    """A file of the answers, or the interface that Label Studio shows its tasks with."""
    if request.path_params["name"] == INTERFACE:
        headers = {"Content-Disposition": f'attachment; filename="{INTERFACE}"'}
        return Response(CONFIG, media_type="text/xml; charset=utf-8", headers=headers)
    form = next((form for form, name in NAMES.items() if name == request.path_params["name"]), None)
    if form is None:
        return trouble("There is no such file.", 404)
    return await run_in_threadpool(_export, desk, form)


def _export(desk: Desk, form: Form) -> Response:
    text = exported(desk.book.copy(), desk.store, form)
    kind = "application/json" if form == "label-studio" else "text/csv"
    headers = {"Content-Disposition": f'attachment; filename="{NAMES[form]}"'}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


async def apply(desk: Desk, request: Request) -> Response:
    """Set the kinds of the store's features from the answers."""
    fields = await fields_of(request)
    if not is_token(fields.get("token", ""), desk.book.secret, APPLY):
        return trouble("This form is not of a page of this server; open the page anew.", 403, back="/results")
    return await run_in_threadpool(_apply, desk, fields)


def _apply(desk: Desk, fields: dict[str, str]) -> Response:
    text, majority = fields.get("majority", ""), None
    try:
        if not (text.isdecimal() and text.isascii() and 0 < len(text) < 4 and int(text)):
            raise SalientError("majority", expected="a number of answers", got=repr(text[:20]))
        majority = int(text)
        place_to_annotate(desk.place)
        now = desk.as_it_is()
        read = annotations_in(desk.book.copy(), now)
        lost = foreseen(now, read, majority).lost
        if lost and fields.get("lose", "") != str(lost):  # who ticked it saw another number, or none
            raise SalientError(
                f"{many(lost, 'feature')} would lose the kind that the store has, for nobody answered about them",
                then="tick that they may, or answer about them first",
            )
        version = fields.get("version", "").strip() or None
        store = annotate(desk.place, read, majority=majority, data_version=version)
    except (SalientError, OSError) as error:
        return _results(desk, f"Not applied: {error}", 422, majority)
    desk.read_kinds(store)
    return RedirectResponse("/results?said=applied", 303)

"""Answering through the real server: what is written, what is refused, and that nothing typed becomes part of a page."""

from __future__ import annotations

import html
import shutil
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.label_studio import CONFIG
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.app.forms import token_for
from salient_imagenet_data.app.label import results
from salient_imagenet_data.app.label.book import read_book
from salient_imagenet_data.app.label.desk import Desk
from salient_imagenet_data.app.label.ledger import Ledger
from salient_imagenet_data.app.label.opening import open_desk
from salient_imagenet_data.app.label.quality import Agreements
from salient_imagenet_data.app.label.records import Task
from salient_imagenet_data.app.label.results import APPLY
from salient_imagenet_data.app.label.routes import label_routes
from salient_imagenet_data.app.serving import access_to
from salient_imagenet_data.app.site import site
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import Folder, upload
from salient_imagenet_data.store.reading import Store
from tests.app.conftest import Client, OpenDesk, Serve
from tests.app.label.reading import hidden, open_page, pair_of, send

HTML = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
Served = Callable[[Desk], Client]


def rows(desk: Desk) -> list[tuple[str, str, int | None, str]]:
    with desk.book.reading() as ledger:
        return [(row.annotator, row.answer, row.confidence, row.reason) for row in ledger.rows]


def test_what_people_type_is_never_markup(desk: OpenDesk, client: Served) -> None:
    one = desk(per_pair=2)
    server = client(one)
    page = server.get("/label?annotator=" + "%3Cb%3Eada%22").text
    assert hidden(page)["annotator"] == '<b>ada"' and "<b>ada" not in page
    assert send(server, page, answer="background", reason=HTML).status == 303
    other = open_page(server, "bob")
    assert send(server, other, answer="main_object").status == 303
    for path in ("/", "/results", "/label?annotator=%3Cb%3Eada%22", f"/label?annotator=bob&said={quote(HTML)}"):
        shown = server.get(path).text
        assert "<script>alert" not in shown and "<img src=x" not in shown and "<b>ada" not in shown, path
    assert html.escape(HTML, quote=False).split('"')[0] in server.get("/results").text
    assert "Your bank" not in server.get("/label?annotator=bob&said=Your+bank").text  # no words of a link's maker
    assert "Your bank" not in server.get("/results?said=Your+bank").text
    assert rows(one)[0] == ('<b>ada"', "background", None, HTML)


def test_names_of_classes_and_definitions_are_never_markup(
    bare_store: Store, images: Path, tmp_path: Path, serve: Serve
) -> None:
    name = bare_store.class_names[0]
    (tmp_path / "d.txt").write_text(f"{name}\t{HTML}\n")
    made = open_desk(
        bare_store, FolderSource(images), tmp_path / "a.sqlite", definitions=tmp_path / "d.txt", place="<i>store</i>"
    )
    made.names = (HTML, *made.names[1:])  # type: ignore[misc]
    server = serve(site((made.gallery,), label_routes(made), access_to("127.0.0.1", None)))
    page = open_page(server, "ada")
    assert "<script>alert" not in page and "<img src=x" not in page and "<i>store" not in page
    assert page.count(html.escape(HTML, quote=False).split('"')[0]) >= 3
    made.book.close()


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"token": ""}, 403, "not of a page of this server"),
        ({"token": "0" * 64}, 403, "not of a page of this server"),
        ({"token": "é"}, 403, "not of a page of this server"),
        ({"annotator": "bob"}, 403, "not of a page of this server"),  # the token is ada's
        ({"annotator": ""}, 400, "annotator"),
        ({"annotator": "x" * 61}, 400, "annotator"),
        ({"annotator": "a\x00b"}, 400, "annotator"),
        ({"class": "999"}, 400, "no such pair"),
        ({"feature": "999"}, 400, "no such pair"),
        ({"feature": "../../etc/passwd"}, 400, "not a pair"),
        ({"class": "9" * 400}, 400, "not a pair"),
        ({"class": "²"}, 400, "not a pair"),
        ({"round": "gold"}, 400, "no such round"),
        ({"action": "delete"}, 422, "no such action"),
        ({"action": "withdraw"}, 422, "nothing to take back"),
        ({"answer": "maybe"}, 422, "choose one of the three answers"),
        ({"answer": ""}, 422, "choose one of the three answers"),
        ({"confidence": "6"}, 422, "1 to 5, or nothing"),
        ({"confidence": "1e9"}, 422, "1 to 5, or nothing"),
        ({"reason": "x" * 501}, 422, "at most 500 characters"),
        ({"reason": "a\x07b"}, 422, "cannot be printed"),
        ({"ticket": ""}, 422, "ticket"),
        ({"ticket": "'; DROP TABLE answers; --"}, 422, "ticket"),
    ],
)
def test_forms_that_are_not_ours_write_nothing(
    change: dict[str, str], status: int, told: str, desk: OpenDesk, client: Served
) -> None:
    one = desk()
    server = client(one)
    reply = send(server, open_page(server, "ada"), **({"answer": "background"} | change))
    assert reply.status == status and told in html.unescape(reply.text)
    assert rows(one) == []


def test_bodies_that_are_no_forms_write_nothing(desk: OpenDesk, client: Served) -> None:
    one = desk()
    server = client(one)
    page = open_page(server, "ada")
    assert server.post("/label", hidden(page) | {"answer": "background", "reason": "x" * 2**20}).status == 413
    for body in (b"\xff\xfe", b"annotator=%ff", b"&".join(b"a=1" for _ in range(60)), b"\x00"):
        assert server.ask("POST", "/label", body).status == 400
    for method in ("PUT", "DELETE", "PATCH"):
        assert server.ask(method, "/label").status == 405
    assert server.get("/apply").status == 405 and rows(one) == []
    assert server.post("/apply", {"majority": "1", "token": "0" * 64}).status == 403
    # The token of a person's form does not apply.
    assert server.post("/apply", {"majority": "1", "token": hidden(page)["token"]}).status == 403


def test_two_tabs_on_one_pair_keep_both_answers_and_the_later_holds(desk: OpenDesk, client: Served) -> None:
    one = desk()
    server = client(one)
    left_tab, right_tab = open_page(server, "ada"), open_page(server, "ada")
    assert pair_of(left_tab) == pair_of(right_tab)
    assert "said=saved" in send(server, left_tab, answer="background").headers["location"]
    assert "said=changed" in send(server, right_tab, answer="main_object", confidence="5").headers["location"]
    assert rows(one) == [("ada", "background", None, ""), ("ada", "main_object", 5, "")]
    # The same page sent twice, by a double click or a line that broke, is one answer, also if it says another one.
    assert "said=twice" in send(server, left_tab, answer="separate_object").headers["location"]
    send(server, right_tab, answer="main_object", confidence="5")
    assert len(rows(one)) == 2


def test_an_answer_that_cannot_be_written_stays_on_the_page(desk: OpenDesk, client: Served) -> None:
    one = desk()
    server = client(one)
    page = open_page(server, "ada")
    other = sqlite3.connect(one.book.path, timeout=0)
    one.book._connection.execute("PRAGMA busy_timeout = 50")
    other.execute("BEGIN IMMEDIATE")  # somebody else holds the file
    reply = send(server, page, answer="separate_object", confidence="2", reason="a fence & a <gate>")
    shown = html.unescape(reply.text)
    assert reply.status == 422 and "Not saved" in shown and "another process writes there; try again" in shown
    assert 'value="separate_object" checked' in shown and "a fence & a <gate>" in shown
    assert hidden(reply.text)["ticket"] == hidden(page)["ticket"]
    other.execute("ROLLBACK")
    other.close()
    assert send(server, reply.text, answer="separate_object", confidence="2", reason="a fence & a <gate>").status == 303
    assert rows(one) == [("ada", "separate_object", 2, "a fence & a <gate>")]


def test_back_skip_and_taking_back(desk: OpenDesk, client: Served) -> None:
    one = desk(repeats=0)
    server = client(one)
    first = open_page(server, "ada")
    send(server, first, answer="background", confidence="3")
    second = open_page(server, "ada")
    assert pair_of(second) != pair_of(first)
    (c, f) = pair_of(first)
    address = f"/label?annotator=ada&amp;class={c}&amp;feature={f}&amp;round=first"
    assert address in second and 'data-key="b"' in second
    again = server.get(html.unescape(address)).text
    assert 'value="background" checked' in again and 'name="confidence" value="3" checked' in again
    taken = send(server, again, action="withdraw")
    assert f"class={c}&feature={f}" in taken.headers["location"]
    assert pair_of(server.get(taken.headers["location"]).text) == (c, f)
    send(server, open_page(server, "ada"), action="skip")
    assert pair_of(open_page(server, "ada")) == pair_of(second)
    assert [row[1] for row in rows(one)] == ["background", "withdrawn", "skipped"]


def test_reasons_to_complete_are_the_persons_own(desk: OpenDesk, client: Served) -> None:
    one = desk(per_pair=2)
    server = client(one)
    for reason in ("grass", "water", "water"):
        send(server, open_page(server, "ada"), answer="background", reason=reason)
    page = open_page(server, "ada")
    assert page.index('<option value="water">') < page.index('<option value="grass">')
    assert "<option" not in open_page(server, "bob")


def test_applying_from_the_page(desk: OpenDesk, client: Served) -> None:
    one = desk(annotator="ada", repeats=0)
    server = client(one)
    pair = pair_of(server.get("/label").text)
    send(server, server.get("/label").text, answer="background", reason="only grass")
    page = server.get("/results").text
    fields = hidden(page)
    for majority in ("0", "", "x", "-1", "²"):
        reply = server.post("/apply", fields | {"majority": majority, "version": ""})
        assert reply.status == 422 and "Not applied" in reply.text
    reply = server.post("/apply", fields | {"majority": "3", "version": ""})
    assert reply.status == 422 and "too few answers" in reply.text
    assert Store(one.store.path).manifest.annotations_sha256 is None
    assert server.post("/apply", fields | {"majority": "1", "version": "1.4.0"}).status == 303
    store = Store(one.store.path)
    assert store.manifest.data_version == "1.4.0"
    (judged,) = [f for f in store.features if f.kind is not None]
    assert (judged.class_index, judged.feature_index) == pair
    assert (judged.kind, judged.cue, judged.reasons) == ("spurious", "background", ("only grass",))
    shown = " ".join(server.get("/results?said=applied").text.split())
    assert "0 features are core, 1 spurious and 39 without answers" in shown and "(now 1.4.0)" in shown
    assert server.get("/export/answers.csv").text.splitlines()[1].endswith("background,,only grass")
    assert server.get("/export/answers.sqlite").status == 404


def test_what_others_said_is_hidden_while_somebody_may_be_asked(desk: OpenDesk, client: Served) -> None:
    """Of three people two answered: neither their answers nor their reasons are on the page, until the third did."""
    one = desk(per_pair=3, repeats=0)
    server = client(one)
    pair = pair_of(open_page(server, "ada"))
    address = "&class={}&feature={}".format(*pair)
    for number, (who, answer) in enumerate((("ada", "background"), ("bob", "main_object"), ("cy", "background"))):
        shown = " ".join(server.get("/results").text.split())
        assert "wet grass" not in shown and "<b>background</b>" not in shown and 'class="dispute"' not in shown
        assert f"{min(number, 1)} pair" in shown and ("1 of them in dispute" in shown) == (number == 2)
        assert send(server, open_page(server, who, address), answer=answer, reason=f"wet grass {who}").status == 303
    shown = " ".join(server.get("/results").text.split())
    assert "ada: <b>background</b>: wet grass ada" in shown and "bob: <b>main_object</b>: wet grass bob" in shown
    assert "0 pairs with answers are not shown yet; the files above" in shown
    assert "Fleiss' kappa of 3 people a pair" in shown
    page = server.get("/export/label-studio-labelling.xml")
    assert page.status == 200 and page.text == CONFIG and "label-studio-labelling.xml" in shown


def test_applying_says_first_whose_kinds_are_lost_and_wants_a_tick(desk: OpenDesk, client: Served) -> None:
    """All features have a kind, three are answered here: 37 would have none, and one would have another."""
    one = desk(annotator="ada", repeats=0)
    features = one.store.features
    told = [
        Answer("x", f.class_name, f.class_index, f.feature_index, f.rank, "main_object", None, "") for f in features[1:]
    ]
    annotate(one.store.path, Annotations(tuple(told), "ab" * 32), majority=1)
    server = client(one)
    for answer in ("background", "background", "main_object"):
        send(server, server.get("/label").text, answer=answer)
    page = server.get("/results").text
    said = " ".join(page.split())
    assert "give 1 features their first kind, 1 features another kind than the store has, and 37 features lose" in said
    assert '<input type="checkbox" name="lose" value="37" required>' in page
    fields = hidden(page) | {"majority": "1", "version": ""}
    before = Store(one.store.path)
    for tick in ({}, {"lose": "36"}, {"lose": "on"}):
        reply = server.post("/apply", fields | tick)
        assert reply.status == 422 and "37 features would lose the kind that the store has" in reply.text
    assert Store(one.store.path).features == before.features
    assert server.post("/apply", fields | {"lose": "37"}).status == 303
    kinds = [feature.kind for feature in Store(one.store.path).features]
    assert (kinds.count("core"), kinds.count("spurious"), kinds.count(None)) == (1, 2, 37)
    assert 'name="lose"' not in server.get("/results").text  # nothing is lost any more


@pytest.mark.parametrize("where", ["folder", "cache", "hub"])
def test_what_is_only_read_is_not_applied_to(
    where: str, bare_store: Store, images: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a store, the cache of what was downloaded, and a name on the Hub: said on the page, and refused to a post."""
    if where == "folder":
        place: str | Path = tmp_path / "out"
        shutil.copytree(bare_store.path, tmp_path / "out" / "store")
        told = "a folder with a store in it; expected the store itself; give "
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        kept = Path(shutil.copytree(bare_store.path, tmp_path / "cache" / "datasets--org--name" / "store"))
        place = kept if where == "cache" else "org/name"
        told = "in the cache of what was downloaded" if where == "cache" else "org/name: a store on the Hub"
    opened = Store(kept if where == "hub" else place)
    before = {path: path.read_bytes() for path in opened.path.rglob("*") if path.is_file()}
    made = open_desk(opened, FolderSource(images), tmp_path / "a.sqlite", annotator="ada", place=place)
    server = serve(site((made.gallery,), label_routes(made), access_to("127.0.0.1", None)))
    assert send(server, server.get("/label").text, answer="background").status == 303
    page = server.get("/results").text
    assert f"Answers are not applied from here: {place}" in page and told in page and 'action="/apply"' not in page
    token = token_for(made.book.secret, APPLY)
    reply = server.post("/apply", {"token": token, "majority": "1", "version": ""})
    made.close()
    assert reply.status == 422 and f"Not applied: {place}: " in reply.text and told in reply.text
    assert {path: path.read_bytes() for path in opened.path.rglob("*") if path.is_file()} == before


def test_nobody_waits_for_the_page_of_results(desk: OpenDesk, client: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk(repeats=0, per_pair=1)
    server, begun, go, shown = client(one), threading.Event(), threading.Event(), []
    counted = results.agreements

    def slow(ledger: Ledger) -> Agreements:
        begun.set()
        go.wait(20)
        return counted(ledger)

    monkeypatch.setattr(results, "agreements", slow)
    reader = threading.Thread(target=lambda: shown.append(server.get("/results").text))
    reader.start()
    assert begun.wait(20)
    start = time.monotonic()
    for _ in range(2):
        assert send(server, open_page(server, "ada"), answer="background", reason="grass").status == 303
    assert time.monotonic() - start < 15
    go.set()
    reader.join(20)
    assert "No pair to show has a reason" in shown[0]  # it shows what was there when it was asked for
    assert "2 pairs in the most frequent words" in server.get("/results").text


def test_a_store_behind_a_url_is_changed_there_and_not_in_the_cache(
    bare_store: Store, images: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    url = f"memory://{uuid4()}/store"
    upload(bare_store.path, Folder.of(url), last=MANIFEST)
    cached = Store(url)
    before = {path: path.read_bytes() for path in cached.path.rglob("*") if path.is_file()}
    made = open_desk(cached, FolderSource(images), tmp_path / "a.sqlite", annotator="ada", place=url)
    server = serve(site((made.gallery,), label_routes(made), access_to("127.0.0.1", None)))
    send(server, server.get("/label").text, answer="background")
    fields = hidden(server.get("/results").text) | {"majority": "1", "version": "2.0.0"}
    assert server.post("/apply", fields).status == 303
    shown = " ".join(server.get("/results").text.split())
    made.close()
    assert "1 spurious and 39 without answers" in shown and "(now 2.0.0)" in shown
    assert Store(url).manifest.data_version == "2.0.0"
    assert {path: path.read_bytes() for path in cached.path.rglob("*") if path.is_file()} == before


def test_a_read_only_store_is_labelled_and_not_applied(
    bare_store: Store, images: Path, tmp_path: Path, serve: Serve
) -> None:
    folder = Path(shutil.copytree(bare_store.path, tmp_path / "store"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    made = open_desk(Store(folder), FolderSource(images), tmp_path / "beside.sqlite")
    server = serve(site((made.gallery,), label_routes(made), access_to("127.0.0.1", None)))
    assert send(server, open_page(server, "ada"), answer="background").status == 303
    assert server.get("/results").status == 200
    made.book.close()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_wide_round_shows_images_of_lower_ranks(desk: OpenDesk) -> None:
    one = desk()
    pair = one.plan.order[0]
    assert one.rows_of(Task(pair, "wide")) == []  # these classes have four images, and ranks end there
    assert len(one.rows_of(Task(pair, "first"))) == 4 == len(set(one.rows_of(Task(pair, "repeat"))))
    assert one.other_rows(Task(pair, "first")) == []


def test_fifty_people_at_once_lose_no_answer(desk: OpenDesk, client: Served) -> None:
    """Each answers as fast as the server lets them, 40 pairs for 5 people each: 200 answers, bounded in time."""
    one = desk(repeats=0)
    server = client(one)
    said: list[tuple[str, tuple[int, int], str]] = []
    times: list[float] = []
    lock = threading.Lock()

    def person(number: int) -> None:
        name = f"p{number}"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            start = time.monotonic()
            page = server.get(f"/label?annotator={name}")
            took = time.monotonic() - start
            if "Nothing is left" in page.text:
                return
            answer = ("main_object", "separate_object", "background")[number % 3]
            reply = send(server, page.text, answer=answer)
            with lock:
                times.append(took)
                if reply.status == 303 and "said=saved" in reply.headers["location"]:
                    said.append((name, pair_of(page.text), answer))

    people = [threading.Thread(target=person, args=(number,)) for number in range(50)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join(90)
    kept = [(row.annotator, (*row.task.pair,), row.answer) for row in read_book(one.book.path).rows]
    assert sorted(kept) == sorted(said) and len(said) == 200
    per_pair = {pair: sum(one_said[1] == pair for one_said in said) for pair in {s[1] for s in said}}
    assert set(per_pair.values()) == {5} and len(per_pair) == 40
    print(
        f"median page {statistics.median(times) * 1000:.0f} ms, 95 %: {sorted(times)[int(len(times) * 0.95)] * 1000:.0f} ms"
    )

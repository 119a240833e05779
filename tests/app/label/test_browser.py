"""The pages in a real browser, by keyboard alone, with a server that dies in the middle."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.app.label.book import read_book
from salient_imagenet_data.app.serving import listen
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.warm import Warm

WORDS = ("main_object", "separate_object", "background")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's browser; Playwright's own is not downloaded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Server:
    """`salient-imagenet label` on a port that stays the same over deaths."""

    def __init__(self, warm: Warm, store: Path, images: Path, *options: object) -> None:
        free = listen("127.0.0.1", 0)
        self.port = free.getsockname()[1]
        free.close()
        where = (store, "--images", images, "--port", self.port, "--no-browser", *options)
        self.warm, self.line = warm, ("-m", "salient_imagenet_data.cli", "label", *where)
        self.told, self.errors = store.with_name("told.txt"), store.with_name("errors.txt")
        self.start()

    def start(self) -> None:
        self.told.unlink(missing_ok=True)
        self.process = self.warm.start(*self.line, out=self.told, err=self.errors)
        while "open http" not in (self.told.read_text() if self.told.exists() else ""):
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def folder(bare_store: Store, tmp_path: Path) -> Path:
    """A copy of the store without answers."""
    return Path(shutil.copytree(bare_store.path, tmp_path / "store"))


def asked(page: Page) -> tuple[int, int]:
    """The pair that a page asks about."""
    values = [page.input_value(f"#answer input[name={name}]") for name in ("class", "feature")]
    return int(values[0]), int(values[1])


def press_through(page: Page, digit: int, *more: str) -> tuple[int, int]:
    """Answer the pair that is shown with keys alone, and wait for the next page."""
    pair, ticket = asked(page), page.input_value("#answer input[name=ticket]")
    for key in (str(digit), *more, "Enter"):
        page.keyboard.press(key)
    page.wait_for_function("old => document.querySelector('#answer input[name=ticket]')?.value !== old", arg=ticket)
    return pair


def test_two_people_answer_by_keyboard_while_the_server_dies(
    chromium: Browser, folder: Path, images: Path, run: Run, tmp_path: Path, warm: Warm
) -> None:
    server = Server(warm, folder, images, "--annotators-per-pair", 1, "--repeats", 0)
    said: dict[tuple[int, int], tuple[str, int, str]] = {}
    troubles: list[str] = []
    try:
        pages: dict[str, Page] = {}
        for name in ("ada", "bob"):
            page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("request", lambda request: troubles.append(request.url) if "127.0.0.1" not in request.url else None)
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.keyboard.type(name)  # the field has the focus
            page.keyboard.press("Enter")
            page.wait_for_selector("#answer")
            pages[name] = page
        for number in range(20):
            for name, page in pages.items():
                digit = 1 + (number + (name == "bob")) % 3
                if number == 7 and name == "ada":
                    page.reload()
                if number == 10 and name == "bob":
                    held = asked(page)
                    page.keyboard.press(str(digit))
                    server.kill()
                    page.keyboard.press("Enter")
                    page.wait_for_function("() => document.getElementById('said').textContent.includes('still here')")
                    assert page.is_checked(f"#answer input[value={WORDS[digit - 1]}]") and asked(page) == held
                    server.start()
                pair = press_through(page, digit, "Shift+Digit4") if number % 2 else press_through(page, digit)
                assert pair not in said, "a pair was asked of two people"
                said[pair] = (WORDS[digit - 1], 4 if number % 2 else 0, name)
        for page in pages.values():
            page.wait_for_selector("h1:has-text('Nothing is left')")
    finally:
        server.kill()
    assert not troubles
    assert len(said) == 40
    rows = read_book(folder.with_name("store.answers.sqlite")).rows
    assert {(*r.task.pair,): (r.answer, r.confidence or 0, r.annotator) for r in rows} == said and len(rows) == 40
    code, out, _ = run("export-answers", folder, "--out", tmp_path / "answers.csv")
    assert code == 0 and "40 answers of 2 people about 40 pairs" in out
    store = annotate(folder, read_annotations(tmp_path / "answers.csv"), majority=1)
    for feature in store.features:
        word = said[feature.class_index, feature.feature_index][0]
        assert feature.kind == ("core" if word == "main_object" else "spurious")
        assert feature.cue == (None if word == "main_object" else word)


def press_and_wait(page: Page, key: str) -> None:
    """Press a key that leads to another page."""
    ticket = page.input_value("#answer input[name=ticket]")
    page.keyboard.press(key)
    page.wait_for_function("old => document.querySelector('#answer input[name=ticket]')?.value !== old", arg=ticket)


def test_every_key_does_what_the_list_says(chromium: Browser, folder: Path, images: Path, warm: Warm) -> None:
    server = Server(warm, folder, images, "--annotator", "ada")
    try:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("#answer")
        first = asked(page)
        page.keyboard.press("Enter")
        assert page.inner_text("#said") == "Choose 1, 2 or 3 first."
        page.keyboard.press("?")
        assert page.is_visible("#keys")
        page.keyboard.press("2")  # nothing is chosen behind the list
        page.keyboard.press("Escape")
        assert not page.is_visible("#keys") and page.locator("#answer input:checked").count() == 0
        shown = page.get_attribute("#tiles .layer", "src") or ""
        assert "heat-0-256" in shown
        page.keyboard.press("v")
        assert "contour-10-256" in (page.get_attribute("#tiles .layer", "src") or "")
        page.keyboard.press("z")
        assert "contour-10-512" in (page.get_attribute("#tiles .layer", "src") or "")
        page.wait_for_function(
            "() => [...document.querySelectorAll('#tiles img')].every(i => i.complete && i.naturalWidth == 512)"
        )
        page.focus("#threshold")
        page.keyboard.press("ArrowRight")
        assert "contour-11-512" in (page.get_attribute("#tiles .layer", "src") or "")
        page.keyboard.press("3")
        page.keyboard.press("Shift+Digit2")
        page.keyboard.press("r")
        page.keyboard.type("grass, 123 s?")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        press_and_wait(page, "Enter")
        second = asked(page)
        assert second != first and page.inner_text("#said") == "Saved."
        assert page.evaluate("document.activeElement.tagName") == "H1" and page.is_visible("#zoom")
        assert "contour-11-512" in (page.get_attribute("#tiles .layer", "src") or "")
        assert page.get_attribute("#page", "data-view") == "contour"  # as it was left
        assert page.locator("#reasons option").get_attribute("value") == "grass, 123 s?"
        press_and_wait(page, "b")
        assert asked(page) == first and page.is_checked("#answer input[value=background]")
        assert page.input_value("#reason") == "grass, 123 s?" and page.is_checked(
            "#answer input[name=confidence][value='2']"
        )
        press_through(page, 1)
        assert asked(page) == second and "in place of your earlier answer" in page.inner_text("#said")
        press_and_wait(page, "Backspace")
        press_and_wait(page, "u")
        assert asked(page) == first and "Taken back" in page.inner_text("#said")
        press_and_wait(page, "s")
        assert asked(page) == second and "Skipped" in page.inner_text("#said")
    finally:
        server.kill()
    rows = read_book(folder.with_name("store.answers.sqlite")).rows
    told = [(row.answer, row.confidence, row.reason) for row in rows]
    assert told == [
        ("background", 2, "grass, 123 s?"),
        ("main_object", 2, "grass, 123 s?"),
        ("withdrawn", None, ""),
        ("skipped", None, ""),
    ]
    assert {(*row.task.pair,) for row in rows} == {first}


def test_feature_attacks_appear_by_themselves(
    chromium: Browser, folder: Path, images: Path, weights: Path, warm: Warm
) -> None:
    server = Server(warm, folder, images, "--attack", weights)
    try:
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/label?annotator=ada")
        for _ in range(3):
            page.wait_for_function("() => document.querySelectorAll('#attacks img').length === 4")
            page.wait_for_function(
                "() => [...document.querySelectorAll('#attacks img')].every(i => i.naturalWidth === 56)"
            )
            c, f = asked(page)
            assert page.get_attribute("#attacks img", "src") == f"/attacks/{c}/{f}/1.jpg"
            press_through(page, 1)
    finally:
        server.kill()


def test_without_scripts_a_person_reads_and_answers(chromium: Browser, folder: Path, images: Path, warm: Warm) -> None:
    server = Server(warm, folder, images)
    try:
        page = chromium.new_context(java_script_enabled=False).new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("#annotator", "ada")
        page.click("button")
        first = page.input_value("#answer input[name=feature]")
        assert page.is_visible("#tiles .layer") and page.is_hidden("#help") and page.is_hidden("#opacity")
        page.click("text=contour")
        assert "contour-10" in (page.get_attribute("#tiles .layer", "src") or "")
        page.check("#answer input[value=separate_object]")
        page.click("#answer button.first")
        assert page.input_value("#answer input[name=feature]") != first and page.inner_text("#said") == "Saved."
        assert "contour-10" in (page.get_attribute("#tiles .layer", "src") or "")
    finally:
        server.kill()
    (row,) = read_book(folder.with_name("store.answers.sqlite")).rows
    assert (row.annotator, row.answer) == ("ada", "separate_object")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_people_with_other_eyes_or_hands(
    chromium: Browser, folder: Path, images: Path, weights: Path, width: int, scheme: str, warm: Warm
) -> None:
    """axe-core finds nothing serious, no page scrolls sideways, and what has the focus shows it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    server = Server(warm, folder, images, "--definitions", _definitions(folder), "--attack", weights)
    try:
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            bypass_csp=True,
        )
        page = context.new_page()
        for path in ("/", "/label?annotator=ada", "/results", "/nothing"):
            page.goto(f"http://127.0.0.1:{server.port}{path}")
            page.wait_for_load_state("networkidle")
            found = axe.run(page).response["violations"]
            serious = [
                (v["id"], [n["html"] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
            ]
            assert not serious, (path, serious)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.goto(f"http://127.0.0.1:{server.port}/label?annotator=ada")
        # Such a line stands there while feature attacks are made, which is over at once here.
        line = "document.body.insertAdjacentHTML('beforeend', `<p class='range'>${'Being made. '.repeat(40)}</p>`)"
        page.evaluate(line)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_selector("#help:visible")
        page.keyboard.press("v")  # beside each other there is no opacity to set
        seen = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            style = page.evaluate(
                "(() => { const e = document.activeElement, s = getComputedStyle(e);"
                " return [e.id || e.name || e.textContent, s.outlineStyle, s.outlineWidth]; })()"
            )
            seen.add(style[0])
            assert style[1] != "none" and style[2] != "0px", style
            if "Results" in style[0]:
                break
        assert {"answer", "confidence", "reason", "action", "opacity", "threshold", "zoom"} <= seen
    finally:
        server.kill()


def _definitions(folder: Path) -> Path:
    path = folder.with_name("definitions.txt")
    names = Store(folder).class_names
    path.write_text("".join(f"{name}\twhat a {name} is\n" for name in names))
    return path


def test_on_a_phone_the_answers_stay_in_view(chromium: Browser, folder: Path, images: Path, warm: Warm) -> None:
    """From the first photograph to the last the three answers and the button are there, and answer."""
    server = Server(warm, folder, images, "--annotator", "ada", "--repeats", 0)
    try:
        page = chromium.new_page(viewport={"width": 390, "height": 600})
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("#answer")
        assert page.evaluate("document.documentElement.scrollHeight") > 900
        for down in (0, 150, 300):
            page.evaluate("y => window.scrollTo(0, y)", down)
            boxes = [one.bounding_box() for one in page.locator(".answers label, .actions .first").all()]
            assert len(boxes) == 4
            for box in boxes:
                assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 600 and box["width"] > 40
                assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        page.evaluate("window.scrollTo(0, 0)")
        page.click(".answers label:nth-of-type(3)")
        page.click(".actions .first")
        page.wait_for_selector("#said:has-text('Saved')")
        page.goto(f"http://127.0.0.1:{server.port}/results")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        server.kill()
    (row,) = read_book(folder.with_name("store.answers.sqlite")).rows
    assert row.answer == "background"


def test_a_page_that_is_left_open_learns_that_the_kinds_were_set(
    chromium: Browser, folder: Path, images: Path, warm: Warm
) -> None:
    server = Server(warm, folder, images, "--annotator", "ada", "--repeats", 0)
    try:
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("#answer")
        pairs = [press_through(page, 3) for _ in range(3)]
        page.goto(f"http://127.0.0.1:{server.port}/results")
        assert "0 features are core, 0 spurious and 40 without answers" in " ".join(page.inner_text("#page").split())
        page.click("button")
        page.wait_for_selector("text=Applied")
        assert "0 features are core, 3 spurious and 37 without answers" in " ".join(page.inner_text("#page").split())
    finally:
        server.kill()
    kinds = {(f.class_index, f.feature_index): f.kind for f in Store(folder).features}
    assert [kinds[pair] for pair in pairs] == ["spurious"] * 3

"""The pages as files: every link leads to a file of the site, served on loopback as well as opened from the disk."""

from __future__ import annotations

import functools
import html
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.request import urlopen

import pytest

from salient_imagenet_data.app.explore.opening import open_library
from salient_imagenet_data.app.explore.placing import LIST, MADE_BY, placed
from salient_imagenet_data.app.explore.writing import write_site
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.store.reading import Store
from tests.app.explore.conftest import HTML
from tests.hub.stores import make_store


@pytest.fixture(scope="module")
def small(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the tests' store without its photographs."""
    out = tmp_path_factory.mktemp("site") / "site"
    write_site(open_library(store, name="scenes"), out, space=True)
    return out


@pytest.fixture
def served(small: Path) -> Iterator[str]:
    """The site behind a plain server of files, as a Space of static pages has one."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(small))
    handler.log_message = lambda *args: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def files_led_to(site: Path) -> tuple[set[str], set[str]]:
    """Files of a site, and those that its pages lead to; every link is relative and leads to one of them."""
    files = {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}
    led_to = {"index.html", LIST}
    for name in sorted(n for n in files if n.endswith(".html")):
        text = (site / name).read_text()
        for link in re.findall(r'(?:href|src|action)="([^"]*)"', text):
            link = html.unescape(link)
            if link == "#page":
                continue
            assert link and not link.startswith(("/", "http")), (name, link)
            to = normpath(join(dirname(name), link))
            assert to in files, (name, link)
            led_to.add(to)
        assert "hx-get" not in text and "htmx" not in text
    return files, led_to


def test_every_link_is_relative_and_leads_to_a_file(small: Path) -> None:
    files, led_to = files_led_to(small)
    assert led_to | {"README.md"} == files  # nothing lies there that no page shows


def test_of_many_images_those_are_written_that_classes_and_features_show(tmp_path: Path) -> None:
    made = make_store(tmp_path / "store", [f"ring/{n}" for n in range(60)], [2] * 60)
    library = open_library(made, other=make_store(tmp_path / "another", ["ring/7"], [2]))
    write_site(library, tmp_path / "site")
    files, led_to = files_led_to(tmp_path / "site")
    assert led_to == files
    shown = {int(row) for f in library.features[2] for row in library.order_of(f)[0][:5]}
    ends = library.ends_of(2, 5)
    assert ends is not None
    shown |= {row for row, _ in (*ends.most, *ends.least)}
    assert {int(p.stem.split("-")[0]) for p in (tmp_path / "site" / "image").iterdir()} == shown and len(shown) < 40
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text()
        assert str(tmp_path) not in text and "beside it another" in text and "<p>store · " in text  # no folder of ours


def test_the_site_has_all_classes_features_and_the_images_they_show(small: Path, store: Store) -> None:
    assert len(list((small / "class").iterdir())) == 10
    names = {f"{f.class_index}-{f.feature_index}.html" for f in store.features}
    assert {p.name for p in (small / "feature").iterdir()} == names
    rows = {int(p.stem.split("-")[0]) for p in (small / "image").iterdir()}
    assert rows == set(range(40)) and len(list((small / "image").iterdir())) == 80  # four images a class, all shown
    everything = (small / "features.html").read_text()
    assert everything.count("data-words=") == 40 and "because, of this" in everything
    assert "Numbers at threshold 0.50" in (small / "image" / "3-10.html").read_text()


def test_it_is_served_as_a_space(small: Path, served: str) -> None:
    head, _, body = (small / "README.md").read_text().removeprefix("---\n").partition("\n---\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert fields["sdk"] == "static" and fields["title"] == '"Salient features of scenes"'
    assert "masks without photographs" in body
    assert json.loads((small / LIST).read_text())["photographs"] is False
    with urlopen(served + fields["app_file"]) as reply:
        page = reply.read().decode()
    link = re.findall(r'href="(class/\d+\.html)"', page)[3]
    with urlopen(served + link) as reply:
        page = reply.read().decode()
    (picture, *_) = re.findall(r'src="\.\./(pictures/[^"]+)"', page)
    with urlopen(served + picture) as reply:
        assert reply.headers["Content-Type"] == "image/jpeg" and reply.read(3) == b"\xff\xd8\xff"


def test_what_is_not_ours_stays(store: Store, small: Path, tmp_path: Path) -> None:
    library = open_library(store)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(SalientError, match="not empty, and not a site of ours.*got letter.txt"):
            write_site(library, mine, overwrite=overwrite)
    (mine / LIST).write_text(json.dumps({"files": ["letter.txt", "../../x"]}))
    with pytest.raises(SalientError, match="not a site of ours"):
        write_site(library, mine, overwrite=True)
    assert (mine / "letter.txt").read_text() == "dear"
    with pytest.raises(SalientError, match="use --overwrite"):
        write_site(library, small)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SalientError, match="not a folder"):
        write_site(library, tmp_path / "file")


def test_an_earlier_site_is_replaced_whole(hostile: Store, tmp_path: Path) -> None:
    library, out = open_library(hostile), tmp_path / "site"
    out.mkdir()
    first = write_site(library, out)
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert write_site(library, out, overwrite=True) == first
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == names
    (out / "notes.txt").write_text("mine")
    with pytest.raises(SalientError, match="holds files that are not of the site.*got notes.txt"):
        write_site(library, out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine" and (out / "index.html").exists()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_markup_in_names_is_text_in_files_too(hostile: Store, tmp_path: Path) -> None:
    write_site(open_library(hostile, name=f"x/{HTML}"), tmp_path / "site", space=True)
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_text()
        assert "<script>alert" not in text and "<img src=x" not in text and "<b>cross" not in text, path
    head = (tmp_path / "site" / "README.md").read_text().partition("\n---\n")[0]
    assert len(head.splitlines()) == 8 and head.count("sdk:") == 1  # a name adds no field of its own


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def put(folder: Path, text: str) -> None:
    (folder / "index.html").write_text(text)
    (folder / LIST).write_text(json.dumps({"made_by": MADE_BY, "files": [LIST, "index.html"]}))


def test_the_earlier_site_comes_back_where_the_new_one_cannot_stand(tmp_path: Path) -> None:
    out, store = tmp_path / "site", tmp_path / "store"
    with placed(out, store, overwrite=False) as folder:
        put(folder, "first")
    before = contents(out)
    with pytest.raises(FileNotFoundError), placed(out, store, overwrite=True) as folder:
        folder.rename(tmp_path / "gone")  # so that it cannot be put in its place
    assert contents(out) == before and not (tmp_path / "site.salient.partial").exists()
    with (
        pytest.raises(SalientError, match=r"site: holds files that are not of the site.*got late\.txt"),
        placed(out, store, overwrite=True) as folder,
    ):
        put(folder, "second")
        (out / "late.txt").write_text("mine")
    assert contents(out) == {**before, "late.txt": "mine"}


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    out, store, partial = tmp_path / "site", tmp_path / "store", tmp_path / "site.salient.partial"
    for name, text in (("old", "first"), ("new", "half")):
        (partial / name).mkdir(parents=True)
        put(partial / name, text)
    (partial / LIST).write_text(json.dumps({"made_by": MADE_BY}))
    with pytest.raises(SalientError, match="site: exists.*use --overwrite"), placed(out, store, overwrite=False):
        pass
    assert (out / "index.html").read_text() == "first"
    with placed(out, store, overwrite=True) as folder:
        assert not list(folder.iterdir())
        put(folder, "second")
    assert (out / "index.html").read_text() == "second" and [p.name for p in tmp_path.iterdir()] == ["site"]


def test_one_process_writes_at_a_time_and_only_to_a_folder_of_ours(tmp_path: Path) -> None:
    out, store, partial = tmp_path / "site", tmp_path / "store", tmp_path / "site.salient.partial"
    with placed(out, store, overwrite=False) as folder:
        put(folder, "first")
        with (
            pytest.raises(SalientError, match=r"/site: another process is writing here"),
            placed(out, store, overwrite=False),
        ):
            pass
        assert contents(folder)["index.html"] == "first"
    partial.mkdir()
    (partial / "letter.txt").write_text("dear")
    with (
        pytest.raises(SalientError, match=r"/site: site\.salient\.partial stands beside it, which is not of a site"),
        placed(out, store, overwrite=True),
    ):
        pass
    assert contents(partial) == {"letter.txt": "dear"} and contents(out)["index.html"] == "first"

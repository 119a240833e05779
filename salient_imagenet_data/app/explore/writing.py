"""Writing the pages of exploring as a site of files, alone or as a Space of the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from salient_imagenet_data.app.explore import views
from salient_imagenet_data.app.explore.finding import Query
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.explore.placing import LIST, MADE_BY, placed
from salient_imagenet_data.app.explore.written import (
    FEATURES,
    HOME,
    WRITTEN_STEPS,
    Site,
    Written,
    boxes_file,
    class_file,
    feature_file,
    flips_file,
    image_file,
)
from salient_imagenet_data.app.pages import STATIC, page, static_bytes
from salient_imagenet_data.progress import counted

USED = ("base.css", "app.css", "explore.css", "explore.js", "icon.svg")
MOST_FEATURES = 10_000
"""On the one page that has all of them."""


@dataclass(frozen=True)
class WrittenSite:
    """What was written. photographs: whether they show any. size: bytes. left_out: features that the page of all
    of them does not list, since it would be too long; they have pages of their own."""

    pages: int
    pictures: int
    photographs: bool
    size: int
    left_out: int = 0


def write_site(library: Library, out: Path, *, space: bool = False, overwrite: bool = False) -> WrittenSite:
    """Write a library's pages below a folder: all classes and features, and the images that these show, each at a few
    thresholds. Links are relative, so it works from any place, also as files.

    space: also a README.md as a Space of static pages needs it. The folder appears whole or not at all. Raises
    SalientError for a folder that holds anything, and with `overwrite` for one that holds what an earlier site of ours
    did not; for one inside the store; and while another process writes there.
    """
    with placed(out, library.store.path, overwrite=overwrite) as folder:
        files = _write(library, folder, space)
        size = sum((folder / name).stat().st_size for name in files)
    pictures = sum(name.endswith(".jpg") for name in files)
    pages = sum(name.endswith(".html") for name in files)
    left_out = max(len(library.store.features) - MOST_FEATURES, 0)
    return WrittenSite(pages, pictures, library.photographs, size, left_out)


def _write(library: Library, folder: Path, space: bool) -> list[str]:
    site, names = Site(), [LIST]

    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        names.append(name)

    for name, text in _pages(library, site):
        put(name, text)
    for name, picture in counted(site.pictures.items(), total=len(site.pictures), what="pictures"):
        gallery, row, slot, drawing, step, pixels = picture
        put(name, gallery.jpeg(row, slot, drawing, step, pixels))
    for name in USED:
        put(f"static/{name}", static_bytes(*STATIC[name][:2]))
    if space:
        put("README.md", readme(library).encode())
    listed = {"made_by": MADE_BY, "photographs": library.photographs, "files": sorted(names)}
    (folder / LIST).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    return names


def _pages(library: Library, site: Site) -> Iterator[tuple[str, bytes]]:
    """All pages by the name of their file. Those of images come last, since the others say of which there are some."""

    def made(name: str, template: str, values: views.Values) -> tuple[str, bytes]:
        to = Written(site, "../" if "/" in name else "")
        whole = {**views.shared(library), **values}
        whole |= {key: _last(whole[key]) for key in ("place", "other_place")}
        return name, bytes(page(f"explore/{template}.html", to=to, **whole).body)

    yield made(HOME, "home", views.home(library))
    yield made(FEATURES, "search", views.search(library, Query(), per_page=MOST_FEATURES))
    for index in range(len(library.names)):
        yield made(class_file(index), "class", views.of_class(library, index))
    for one in library.store.features:
        pair = (one.class_index, one.feature_index)
        yield made(feature_file(*pair), "feature", views.feature(library, *pair, 1, "", None, per_page=views.SHOWN))
    if library.boxes is not None:
        for number in range(1, views.boxes(library)["pages"].last + 1):
            yield made(boxes_file(number), "boxes", views.boxes(library, number))
    for index, model in enumerate(library.models):
        if model.corrupted:
            yield made(flips_file(index), "flips", views.flips(library, index, 0))
    site.closed = True
    for row in counted(sorted(site.images), total=len(site.images), what="pages of images"):
        for step in WRITTEN_STEPS:
            yield made(image_file(row, step), "image", views.image(library, row, step))


def readme(library: Library) -> str:
    """README.md of a Space that shows the pages, with what the Hub reads at its head."""
    title = f"Salient features of {_last(library.place) or 'a store'}"
    shown = "photographs with masks over them" if library.photographs else "masks without photographs"
    return f"""---
title: {json.dumps(title)}
emoji: 🔎
colorFrom: blue
colorTo: yellow
sdk: static
app_file: {HOME}
pinned: false
---

Core and spurious features of {len(library.names)} classes: {shown}. Made by `salient-imagenet explore --space` from a
store of split {json.dumps(library.store.manifest.split)}, version {library.store.manifest.data_version}.
"""


def _last(place: str) -> str:
    """A store's name without the folders that it lies in, which are nobody else's business."""
    return " ".join(PurePosixPath(place.rstrip("/")).name.split())

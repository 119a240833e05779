"""Where pages and pictures are found: on the server, or as files of a site that links to itself."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlencode

from salient_imagenet_data.app.explore.finding import Query
from salient_imagenet_data.app.gallery import Drawing, Gallery, picture_address


class Addresses(Protocol):
    """What templates ask. A page that there is not, as in a site of files, is ""."""

    written: bool
    """Whether these are files, which answer no question."""

    def home(self) -> str: ...

    def static(self, name: str) -> str: ...

    def picture(self, gallery: Gallery, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> str: ...

    def search(self, query: Query, page: int = 1) -> str: ...

    def of_class(self, index: int) -> str: ...

    def feature(self, class_index: int, feature_index: int, page: int = 1, view: str = "", step: int = 0) -> str: ...

    def image(self, row: int, step: int = 0) -> str: ...

    def boxes(self, page: int = 1) -> str: ...

    def flips(self, model: int, condition: int, page: int = 1) -> str: ...


class Served:
    """Of the server."""

    written = False

    def home(self) -> str:
        return "/"

    def static(self, name: str) -> str:
        return f"/static/{name}"

    def picture(self, gallery: Gallery, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> str:
        return picture_address(gallery, row, slot, drawing, step, pixels)

    def search(self, query: Query, page: int = 1) -> str:
        return _with("/search", q=query.words, kind=query.kind, cue=query.cue, page=_page(page))

    def of_class(self, index: int) -> str:
        return f"/class/{index}"

    def feature(self, class_index: int, feature_index: int, page: int = 1, view: str = "", step: int = 0) -> str:
        return _with(f"/feature/{class_index}/{feature_index}", page=_page(page), view=view, step=str(step or ""))

    def image(self, row: int, step: int = 0) -> str:
        return _with(f"/image/{row}", step=str(step or ""))

    def boxes(self, page: int = 1) -> str:
        return _with("/boxes", page=_page(page))

    def flips(self, model: int, condition: int, page: int = 1) -> str:
        return _with(f"/flips/{model}/{condition}", page=_page(page))


def _page(number: int) -> str:
    return "" if number == 1 else str(number)


def _with(path: str, **query: str) -> str:
    given = {key: value for key, value in query.items() if value}
    return path + ("?" + urlencode(given) if given else "")

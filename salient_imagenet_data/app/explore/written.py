"""The pages of exploring as files that link to each other: addresses, and what they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field

from salient_imagenet_data.app.explore.finding import Query
from salient_imagenet_data.app.gallery import STEPS, Drawing, Gallery

Picture = tuple[Gallery, int, int, Drawing, int, int]
WRITTEN_STEPS = (0, STEPS // 2)
"""Thresholds at which an image has a page: each needs pictures of its own."""
HOME, FEATURES = "index.html", "features.html"


@dataclass
class Site:
    """What pages that were made so far lead to, by the name of the file. images: rows whose pages there are; once
    closed, none is added, since one image leads to the next without end."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    images: set[int] = field(default_factory=set)
    closed: bool = False


class Written:
    """The addresses that a page of a site asks for. above: from its folder to that of the site, "" or "../"."""

    written = True
    steps = WRITTEN_STEPS

    def __init__(self, site: Site, above: str) -> None:
        self.site, self.above = site, above

    def home(self) -> str:
        return self.above + HOME

    def static(self, name: str) -> str:
        return f"{self.above}static/{name}"

    def picture(self, gallery: Gallery, row: int, slot: int, drawing: Drawing, step: int, pixels: int) -> str:
        if drawing in ("photo", "core", "spurious"):
            slot = 0
        name = f"pictures/{gallery.stamp}/{row}-{slot}-{drawing}-{step}-{pixels}.jpg"
        self.site.pictures[name] = (gallery, row, slot, drawing, step, pixels)
        return self.above + name

    def search(self, query: Query, page: int = 1) -> str:
        return "" if query.asks or page > 1 else self.above + FEATURES

    def of_class(self, index: int) -> str:
        return self.above + class_file(index)

    def feature(self, class_index: int, feature_index: int, page: int = 1, view: str = "", step: int = 0) -> str:
        return "" if page > 1 or view or step else self.above + feature_file(class_index, feature_index)

    def image(self, row: int, step: int = 0) -> str:
        if step not in WRITTEN_STEPS or (self.site.closed and row not in self.site.images):
            return ""
        self.site.images.add(row)
        return self.above + image_file(row, step)

    def boxes(self, page: int = 1) -> str:
        return self.above + boxes_file(page)

    def flips(self, model: int, condition: int, page: int = 1) -> str:
        return self.above + flips_file(model) if (condition, page) == (0, 1) else ""


def class_file(index: int) -> str:
    return f"class/{index}.html"


def feature_file(class_index: int, feature_index: int) -> str:
    return f"feature/{class_index}-{feature_index}.html"


def image_file(row: int, step: int) -> str:
    return f"image/{row}.html" if step == 0 else f"image/{row}-{step}.html"


def boxes_file(page: int) -> str:
    return "boxes.html" if page == 1 else f"boxes-{page}.html"


def flips_file(model: int) -> str:
    return f"flips-{model}.html"

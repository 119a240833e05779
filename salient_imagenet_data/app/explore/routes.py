"""The pages of exploring, on the server. Every state of a page is its address."""

from __future__ import annotations

from collections.abc import Callable

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from salient_imagenet_data.app.explore import views
from salient_imagenet_data.app.explore.addresses import Served
from salient_imagenet_data.app.explore.finding import query_of
from salient_imagenet_data.app.explore.library import Library
from salient_imagenet_data.app.gallery import STEPS
from salient_imagenet_data.app.pages import page
from salient_imagenet_data.errors import SalientError

Handler = Callable[[Library, Request], Response]


def explore_routes(library: Library) -> list[BaseRoute]:
    """All of them."""

    def bound(handler: Handler) -> Callable[[Request], Response]:
        return lambda request: handler(library, request)  # not async: Starlette gives it a thread

    return [
        Route("/", bound(_home)),
        Route("/search", bound(_search)),
        Route("/find", bound(_find)),
        Route("/class/{index:int}", bound(_class)),
        Route("/feature/{index:int}/{feature:int}", bound(_feature)),
        Route("/image/{row:int}", bound(_image)),
        Route("/boxes", bound(_boxes)),
        Route("/flips/{model:int}/{condition:int}", bound(_flips)),
    ]


def _answer(library: Library, template: str, values: views.Values) -> Response:
    response = page(f"explore/{template}.html", to=Served(), **{**views.shared(library), **values})
    response.background = BackgroundTask(library.begin)
    return response


def _home(library: Library, request: Request) -> Response:
    return _answer(library, "home", views.home(library))


def _search(library: Library, request: Request) -> Response:
    given = request.query_params
    query = query_of(given.get("q", ""), given.get("kind", ""), given.get("cue", ""))
    return _answer(library, "search", {**views.search(library, query, _page(request)), "asked": query})


def _find(library: Library, request: Request) -> Response:
    """The page of an image by its id, which a person knows and a row nobody does."""
    row = library.store.rows.find(request.query_params.get("id", "").strip())
    return RedirectResponse(Served().image(row), 303)


def _class(library: Library, request: Request) -> Response:
    return _answer(library, "class", views.of_class(library, request.path_params["index"]))


def _feature(library: Library, request: Request) -> Response:
    pair, view = (request.path_params["index"], request.path_params["feature"]), request.query_params.get("view", "")
    return _answer(library, "feature", views.feature(library, *pair, _page(request), view, _step(request)))


def _image(library: Library, request: Request) -> Response:
    return _answer(library, "image", views.image(library, request.path_params["row"], _step(request) or 0))


def _boxes(library: Library, request: Request) -> Response:
    return _answer(library, "boxes", views.boxes(library, _page(request)))


def _flips(library: Library, request: Request) -> Response:
    model, condition = request.path_params["model"], request.path_params["condition"]
    return _answer(library, "flips", views.flips(library, model, condition, _page(request)))


def _page(request: Request) -> int:
    return _whole(request.query_params.get("page", "") or "1", "page")


def _step(request: Request) -> int | None:
    text = request.query_params.get("step", "")
    step = _whole(text, "step") if text else None
    if step is not None and step > STEPS:
        raise SalientError("no such threshold", expected=f"0 to {STEPS} twentieths", got=str(step))
    return step


def _whole(text: str, what: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise SalientError(what, expected="a whole number", got=repr(text[:40]))
    return int(text)

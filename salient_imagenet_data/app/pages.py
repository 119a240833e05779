"""Pages from templates, everything escaped, and the files that all of them load from this server."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

STATIC: dict[str, tuple[str, str, str]] = {
    "base.css": ("salient_imagenet_data.pictures", "base.css", "text/css"),
    "app.css": ("salient_imagenet_data.app", "static/app.css", "text/css"),
    "explore.css": ("salient_imagenet_data.app", "static/explore.css", "text/css"),
    "explore.js": ("salient_imagenet_data.app", "static/explore.js", "text/javascript"),
    "icon.svg": ("salient_imagenet_data.app", "static/icon.svg", "image/svg+xml"),
    "app.js": ("salient_imagenet_data.app", "static/app.js", "text/javascript"),
    "htmx.min.js": ("salient_imagenet_data.app", "static/htmx.min.js", "text/javascript"),
    "htmx.LICENSE.txt": ("salient_imagenet_data.app", "static/htmx.LICENSE.txt", "text/plain"),
}
"""What `/static/NAME` gives: package, file and media type. No other name leads to a file."""


@cache
def environment() -> jinja2.Environment:
    """Templates of the room. A name that a template uses and that is not given raises."""
    loader = jinja2.FunctionLoader(lambda name: _text("salient_imagenet_data.app", f"templates/{name}"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of a template below `templates/`."""
    return HTMLResponse(environment().get_template(template).render(**values), status)


def trouble(words: str, status: int, **values: Any) -> HTMLResponse:
    """A page that says in one line what is wrong."""
    return page("trouble.html", status, words=words, back=values.get("back", "/"))


async def static(request: Request) -> Response:
    """One of the files in `STATIC`."""
    found = STATIC.get(request.path_params["name"])
    if found is None:
        return trouble("There is no such file.", 404)
    return Response(static_bytes(*found[:2]), media_type=found[2], headers={"Cache-Control": "no-cache"})


@cache
def static_bytes(package: str, name: str) -> bytes:
    """A file of a package, such as the first two of an entry in `STATIC` say."""
    return files(package).joinpath(name).read_bytes()


def _text(package: str, name: str) -> str:
    return static_bytes(package, name).decode("utf-8")

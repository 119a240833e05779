"""The application that the server runs: static files, pictures, and the pages of a part."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from salient_imagenet_data.app.gallery import Gallery, picture_route
from salient_imagenet_data.app.guard import Access, Guard
from salient_imagenet_data.app.pages import static, trouble
from salient_imagenet_data.errors import SalientError

PICTURE = "/pictures/{stamp}/{row:int}/{slot:int}/{drawing}-{step:int}-{pixels:int}.jpg"


def site(galleries: Sequence[Gallery], routes: Sequence[BaseRoute], access: Access) -> ASGIApp:
    """All of it behind the guard. galleries: whose pictures the pages show. routes: of a part, such as
    `label.routes.label_routes`."""
    shared = [Route("/static/{name}", static), Route(PICTURE, picture_route(galleries))]
    handlers = {HTTPException: _unknown, SalientError: _mistake, ClientDisconnect: _gone}
    return Guard(Starlette(routes=[*shared, *routes], exception_handlers=handlers), access)  # type: ignore[arg-type]


async def _unknown(request: Request, error: HTTPException) -> Response:
    words = "There is no such page." if error.status_code == 404 else error.detail
    return trouble(words, error.status_code)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # to nobody: who sent the form hung up on the way


async def _mistake(request: Request, error: SalientError) -> Response:
    return trouble(str(error), 400)

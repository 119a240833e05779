"""What every request passes before a page sees it: whose it is, how large it is, and the headers of every answer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_BODY = 65_536
"""Bytes of a form. The longest answer a person types has a fraction of that."""
TOO_LONG = f"Too long: at most {LONGEST_BODY} bytes."
COOKIE = "salient_access"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a browser would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Nothing is loaded from elsewhere, nothing runs that does not lie in a file of ours, nobody frames the pages."""


@dataclass(frozen=True)
class Access:
    """Who may ask. hosts: names in the Host header that mean this server; others are a name of somebody else that was
    pointed at it. None: any name, which needs a token: a page under somebody else's name has neither the token nor the
    cookie, which the browser keeps for the name under which it came in. token: what a page's address must hold once,
    where the server listens beyond this machine."""

    hosts: Collection[str] | None
    token: str | None = None

    def __post_init__(self) -> None:
        if self.hosts is None and not self.token:
            raise ValueError("any name of the server, and no token")

    @property
    def cookie(self) -> str:
        """What the browser keeps in place of the token."""
        return hashlib.sha256(f"{COOKIE}:{self.token}".encode()).hexdigest()


class Guard:
    """An ASGI application before another one, which is one of starlette."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = self._refusal(scope) or self._entry(scope)
        read = _bounded(receive)
        await (answer or self.app)(scope, read, _with_headers(send))

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = _name_in(f"//{host}") if _is_host(host) else None
        if name is None or (self.access.hosts is not None and name not in self.access.hosts):
            return PlainTextResponse("This server does not answer under that name.", 421)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            return PlainTextResponse(TOO_LONG, 413)
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and _netloc(origin) != host:
                return PlainTextResponse("Only pages of this server may send answers to it.", 403)
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return PlainTextResponse("Only pages of this server may send answers to it.", 403)
        return None

    def _entry(self, scope: Scope) -> ASGIApp | None:
        """None for who may come in; else a refusal, or, with the token, the same page under an address without it."""
        if self.access.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for key, value in query if key == "token"), "")
        if hmac.compare_digest(given.encode(), self.access.token.encode()):
            rest = urlencode([(key, value) for key, value in query if key != "token"])
            path = "/" + scope["path"].lstrip("/\\")
            answer = RedirectResponse(path + ("?" + rest if rest else ""), 303)
            answer.set_cookie(_cookie_of(scope), self.access.cookie, httponly=True, samesite="lax")
            return answer
        try:
            cookies = SimpleCookie(Headers(scope=scope).get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        name = _cookie_of(scope)
        kept = cookies[name].value if name in cookies else ""
        if hmac.compare_digest(kept.encode(), self.access.cookie.encode()):
            return None
        return PlainTextResponse("The address must hold the server's token: ?token=...", 401)


def _cookie_of(scope: Scope) -> str:
    """The name of this server's cookie: browsers keep those of all ports of a host together."""
    server = scope.get("server")
    return f"{COOKIE}_{server[1]}" if server else COOKIE


def _name_in(address: str) -> str | None:
    """The host of an address; None where it is none, such as with a bracket that stays open."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_host(host: str) -> bool:
    return bool(host) and all(c.isalnum() or c in ".-:[]_" for c in host)


def _bounded(receive: Receive) -> Receive:
    """Whatever a request says of its length, no more of it than `LONGEST_BODY` is read; starlette answers with 413."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > LONGEST_BODY:
            raise HTTPException(413, TOO_LONG)
        return message

    return bounded


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending

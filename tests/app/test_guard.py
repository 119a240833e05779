"""What is refused before a page sees it, asked of the real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from salient_imagenet_data.app.forms import fields_of
from salient_imagenet_data.app.guard import LONGEST_BODY, Access, Guard
from salient_imagenet_data.app.serving import access_to, address_of, listen
from salient_imagenet_data.app.site import site
from salient_imagenet_data.errors import SalientError
from tests.app.conftest import Client, Serve

TOKEN = "a-token-of-many-letters"


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url.path} {request.url.query} {len(await request.body())}")


@pytest.fixture
def guarded(serve: Serve) -> Callable[[str | None], Client]:
    app = Starlette(routes=[Route("/{rest:path}", _echo, methods=["GET", "POST"])])
    return lambda token: serve(Guard(app, access_to("127.0.0.1", token)))


def test_every_answer_has_the_headers_also_a_refusal(guarded: Callable[[str | None], Client]) -> None:
    client = guarded(None)
    for reply in (client.get("/"), client.get("/", Host="evil.example")):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert "set-cookie" not in reply.headers


HOSTS = ("evil.example", "127.0.0.1.evil.example", "", "a@127.0.0.1", "127.0.0.1/../x", "[", "]:80", "[::1", "[x]:80")


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_somebody_pointed_here_is_refused(guarded: Callable[[str | None], Client], host: str) -> None:
    assert guarded(None).get("/", Host=host).status in (400, 421)


def test_posts_of_other_sites_are_refused(guarded: Callable[[str | None], Client]) -> None:
    client = guarded(None)
    ours = f"http://{client.host}"
    assert client.post("/x", {"a": "b"}).text == "/x  3"
    assert client.post("/x", {"a": "b"}, Origin=ours, Sec_Fetch_Site="same-origin").status == 200
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{client.port + 1}",
        f"http://localhost:{client.port}",
        "http://[",
        "http://]:80",
    ):
        assert client.post("/x", {"a": "b"}, Origin=origin).status == 403
    assert client.post("/x", {"a": "b"}, Sec_Fetch_Site="cross-site").status == 403
    assert client.post("/x", {"a": "b"}, Sec_Fetch_Site="same-site").status == 403


def test_a_body_has_a_bound_whatever_the_request_says_of_it(guarded: Callable[[str | None], Client]) -> None:
    client = guarded(None)
    assert client.ask("POST", "/x", b"a" * LONGEST_BODY).text == f"/x  {LONGEST_BODY}"
    assert client.ask("POST", "/x", b"a" * (LONGEST_BODY + 1)).status == 413
    assert client.ask("POST", "/x", b"a", Content_Length="x").status in (400, 413)
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:  # chunked: no length is told
        raw.sendall(f"POST /x HTTP/1.1\r\nHost: {client.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(3):
            raw.sendall(b"8000\r\n" + b"a" * 0x8000 + b"\r\n")
        status = raw.recv(4096).split(b"\r\n")[0]
    assert status.startswith(b"HTTP/1.1 413 ")


def test_who_hangs_up_in_the_middle_of_a_form_leaves_no_trace(
    serve: Serve, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    left = threading.Event()

    async def form(request: Request) -> PlainTextResponse:
        try:
            return PlainTextResponse(f"{len(await fields_of(request))}")
        finally:
            left.set()

    client = serve(site((), [Route("/form", form, methods=["POST"])], access_to("127.0.0.1", None)))
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
        raw.sendall(f"POST /form HTTP/1.1\r\nHost: {client.host}\r\nContent-Length: 100\r\n\r\na=b".encode())
        time.sleep(0.2)
    assert left.wait(10)
    assert client.post("/form", {"a": "b"}).text == "1"  # and it goes on
    said = capfd.readouterr()
    assert "Traceback" not in said.err + said.out + caplog.text and "ClientDisconnect" not in said.err + caplog.text


def test_with_a_token_nothing_opens_without_it(guarded: Callable[[str | None], Client]) -> None:
    client = guarded(TOKEN)
    for path in ("/", "/static/app.js", "/pictures/x", "/?token=", "/?token=wrong", f"/?token={TOKEN[:-1]}"):
        assert client.get(path).status == 401
    assert client.post("/x", {"a": "b"}).status == 401
    ours = f"salient_access_{client.port}"
    for cookie in (f"{ours}=", f"{ours}={TOKEN}", f"{ours}=%00", ";;;="):
        assert client.get("/", Cookie=cookie).status == 401
    entered = client.get(f"/x?a=b&token={TOKEN}")
    assert entered.status == 303 and entered.headers["location"] == "/x?a=b"
    cookie = entered.headers["set-cookie"]
    assert "SameSite=lax" in cookie and "HttpOnly" in cookie and TOKEN not in cookie
    assert client.get("/x", Cookie=cookie.split(";")[0]).text == "/x  0"
    # The address that the browser is sent to stays here, whatever the path looks like.
    assert client.get(f"//evil.example/?token={TOKEN}").headers["location"] == "/evil.example/"


def test_beyond_this_machine_a_token_is_needed() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        assert access_to(host, None).token is None
    for host in ("0.0.0.0", "::", "", "192.168.0.7", "example.org"):
        for token in (None, "", "short"):
            with pytest.raises(SalientError, match="expected --token with at least 12 characters"):
                access_to(host, token)
    assert access_to("0.0.0.0", TOKEN).token == TOKEN
    with pytest.raises(ValueError, match="no token"):
        Access(None, None)


def test_beyond_this_machine_any_name_of_it_will_do_with_the_token(serve: Serve) -> None:
    """Its own address, a name that a proxy gives it; and a name that somebody else pointed at it still opens nothing."""
    app = Starlette(routes=[Route("/{rest:path}", _echo, methods=["GET", "POST"])])
    client = serve(Guard(app, access_to("0.0.0.0", TOKEN)))
    cookie = client.get(f"/?token={TOKEN}", Host="192.0.2.7:8765").headers["set-cookie"].split(";")[0]
    for host in ("192.0.2.7:8765", "labels.example.org", f"127.0.0.1:{client.port}"):
        assert client.get("/x", Host=host, Cookie=cookie).text == "/x  0"
        assert client.post("/x", {"a": "b"}, Host=host, Cookie=cookie, Origin=f"http://{host}").status == 200
        assert client.get("/x", Host=host).status == 401
    # The browser keeps the cookie for the name under which it came in, so a rebound name comes without it.
    assert client.get("/x", Host="evil.example").status == 401
    assert client.post("/x", {"a": "b"}, Host="labels.example.org", Cookie=cookie, Origin="http://evil").status == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "example.org"])
def test_the_address_that_is_told_is_one_that_others_can_use(host: str) -> None:
    found = address_of(host)
    assert found == host if host != "0.0.0.0" else found not in ("", "0.0.0.0", "::")
    if host == "0.0.0.0":
        listening = listen(host, 0)
        socket.create_connection((found, listening.getsockname()[1]), timeout=5).close()
        listening.close()


def test_two_servers_of_one_host_keep_their_cookies_apart(guarded: Callable[[str | None], Client]) -> None:
    """A browser sends each of them the cookies of both."""
    tokens = (TOKEN, f"{TOKEN}-2")
    clients = [guarded(token) for token in tokens]
    entered = [client.get(f"/?token={token}") for client, token in zip(clients, tokens, strict=True)]
    kept = dict(reply.headers["set-cookie"].split(";")[0].split("=") for reply in entered)
    both = "; ".join(f"{name}={value}" for name, value in kept.items())
    assert [client.get("/x", Cookie=both).status for client in clients] == [200, 200]


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(SalientError, match=f"cannot listen on 127.0.0.1, port {port}.*--port"):
        listen("127.0.0.1", port)
    taken.close()


def test_the_cookie_is_of_one_token() -> None:
    assert Access((), "one token of ours").cookie != Access((), "another token").cookie

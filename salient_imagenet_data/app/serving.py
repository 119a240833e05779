"""One server on this machine, and the browser that is sent to it."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable
from urllib.parse import urlencode

import uvicorn
from starlette.types import ASGIApp

from salient_imagenet_data.app.guard import Access
from salient_imagenet_data.errors import SalientError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def access_to(host: str, token: str | None) -> Access:
    """Who may ask a server that listens on a host. Raises SalientError beyond loopback without a token of at least 12
    characters: whoever reaches the port would read the images and answer in anybody's name."""
    if is_loopback(host):
        return Access((*LOOPBACK_NAMES, host), token)
    if token is None or len(token) < 12:
        raise SalientError(
            f"--host {host}: others could reach the images and answer",
            expected="--token with at least 12 characters, which every address then needs",
            got="none" if token is None else f"{len(token)} characters",
            then=f"for instance --token {secrets.token_urlsafe(16)}",
        )
    return Access(None, token)


def address_of(host: str) -> str:
    """Where others reach a server that listens on a host: for all addresses, one that leads outward."""
    family = {"0.0.0.0": socket.AF_INET, "": socket.AF_INET, "::": socket.AF_INET6}.get(host)
    if family is None:
        return host
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # of the documentation, nobody's
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SalientError for a port that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, by which asyncio knows that small packets shall not wait for each other: 40 ms for each answer else.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)  # from now on a browser waits, where the server is not yet up
    except OSError as error:
        listening.close()
        raise SalientError(
            f"cannot listen on {host}, port {port}", got=error.strerror or str(error), then="give another --port, or 0"
        ) from error
    return listening


def serve(
    app: ASGIApp, listening: socket.socket, host: str, token: str | None, browse: bool, tell: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C or SIGTERM, as service managers send it; after either what was opened can be given back. tell:
    is given the address."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    port, name = listening.getsockname()[1], address_of(host)
    name = f"[{name}]" if ":" in name else name
    address = f"http://{name}:{port}/" + (f"?{urlencode({'token': token})}" if token else "")
    tell(f"open {address} (Ctrl-C ends the server)")
    if browse:
        threading.Timer(0.5, webbrowser.open, (address,)).start()
    config = uvicorn.Config(app, log_level="warning", server_header=False, lifespan="off", timeout_graceful_shutdown=3)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])

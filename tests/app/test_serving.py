"""What connections of the server are like."""

from __future__ import annotations

import asyncio
import socket

import pytest

from salient_imagenet_data.app.serving import listen
from salient_imagenet_data.errors import SalientError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_packets_do_not_wait_for_each_other(host: str) -> None:
    """Else the body of an answer waits 40 ms for the acknowledgement of its head, on each connection that stays open."""
    try:
        listening = listen(host, 0)
    except SalientError as error:
        pytest.skip(f"no {host} here: {error}")
    delays: list[int] = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            here = transport.get_extra_info("socket")
            delays.append(here.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def connect_once() -> None:
        server = await asyncio.get_running_loop().create_server(Accepted, sock=listening)
        _, writer = await asyncio.open_connection(host, listening.getsockname()[1])
        while not delays:
            await asyncio.sleep(0.01)
        writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(connect_once(), 20))
    assert delays == [1]

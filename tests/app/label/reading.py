"""What a person sees of a page, and sends back."""

from __future__ import annotations

import html
import re

from tests.app.conftest import Client, Reply


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}


def pair_of(page: str) -> tuple[int, int]:
    """Class and feature that a page asks about."""
    fields = hidden(page)
    return int(fields["class"]), int(fields["feature"])


def heading(page: str) -> str:
    """The page's first heading, as text."""
    return html.unescape(re.findall(r"<h1[^>]*>(.*?)</h1>", page)[0])


def open_page(client: Client, annotator: str, more: str = "") -> str:
    """The page of what a person is asked next."""
    reply = client.get(f"/label?annotator={annotator}{more}")
    assert reply.status == 200, reply.text
    return reply.text


def send(client: Client, page: str, **fields: str) -> Reply:
    """Send a page's form with some fields filled in, as a browser does."""
    return client.post("/label", hidden(page) | {"action": "answer"} | fields)

"""One way to make a page: a template of a room, everything escaped, nothing left out in silence."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError

GENERATOR = '<meta name="generator" content="salient-imagenet-data">'
"""Stands in the head of every page: by it a page of ours is known, which may be written anew."""

SHARED = ("head.html", "base.css")
"""What all pages share, beside this module."""


def check_page(path: Path) -> None:
    """Raises SalientError if a page that we did not make stands at `path`, where one of ours is to be written."""
    if path.exists() and not (path.is_file() and _ours(path.read_text(encoding="utf-8", errors="replace"))):
        raise SalientError(
            f"{path}: not a page of ours",
            expected="a place without it, or an earlier page of this command",
            then="give another --out",
        )


def _ours(page: str) -> bool:
    """An empty file is nobody's: a power cut leaves such a one."""
    return GENERATOR in page or not page


def render(room: str, template: str, **values: Any) -> str:
    """A page from a template beside the code of a room, such as `render("salient_imagenet_data.demo", "demo.html", …)`.

    Every value is escaped; a name that the template uses and that is not given raises. A template takes what all pages
    share from `SHARED`: it begins with `{% include "head.html" +%}`, and its style with `{% include "base.css" %}`.
    """
    import jinja2

    loader = jinja2.FunctionLoader(lambda name: _text(__package__ if name in SHARED else room, name))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values, generator=GENERATOR)


def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")

"""One way to make a page: a template of a room, everything escaped, nothing left out in silence."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def render(room: str, template: str, **values: Any) -> str:
    """A page from a template beside the code of a room, such as `render("salient_imagenet_data.demo", "demo.html", …)`.

    Every value is escaped; a name that the template uses and that is not given raises. A template takes what all pages
    share with `{% include "base.css" %}`.
    """
    import jinja2

    loader = jinja2.FunctionLoader(lambda name: _text(__package__ if name == "base.css" else room, name))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values)


def _text(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")

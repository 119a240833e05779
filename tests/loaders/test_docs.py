"""The examples of the loaders' pages run as they are pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from salient_imagenet_data.store.reading import Store

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = [
    (page, number, text)
    for page in ("loaders.md", "corruptions.md", "mitigation.md")
    for number, text in enumerate(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL))
]


@pytest.mark.parametrize(("page", "number", "text"), EXAMPLES, ids=lambda v: str(v)[:13] if len(str(v)) < 14 else "")
def test_examples_run(
    page: str,
    number: int,
    text: str,
    store: Store,
    images: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "store").symlink_to(store.path)
    (tmp_path / "demo" / "images").symlink_to(images)
    (tmp_path / "demo" / "standard.safetensors").symlink_to(weights)
    monkeypatch.chdir(tmp_path)
    exec(compile(text, f"{page}, example {number}", "exec"), {})


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 12

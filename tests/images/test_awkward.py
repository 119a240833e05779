from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from salient_imagenet_data.errors import ImageError, SalientError
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.images.source import ImageSource
from tests.images.awkward import SECTIONS, page
from tests.images.awkward_making import Case, tree
from tests.rights import without_roots_rights

CASES = [case for cases in SECTIONS.values() for case in cases]
DOCS = Path(__file__).parents[2] / "docs"


def look(case: Case, root: Path) -> tuple[ImageSource, list[str]]:
    """The source, and what its pictures raised."""
    source = open_source(root / case.below, case.split, layout=case.layout)
    broken = []
    for index in range(len(source)):
        try:
            pixels = source.pixels(index)
            assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
        except ImageError as error:
            broken.append(str(error))
    return source, broken


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what[:50])
def test_awkward_files(case: Case, tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    if not case.bare:
        tree(root, "cat", "dog")
    case.make(root)
    with without_roots_rights(tmp_path) if case.plain else nullcontext():
        if case.outcome == "refused":
            with pytest.raises(SalientError) as refused:
                look(case, root)
            assert case.said in str(refused.value) and "\n" not in str(refused.value)
            return
        source, broken = look(case, root)
    assert source.class_names == case.classes and len(source) == case.read
    passed = source.passed_over  # type: ignore[attr-defined]
    if case.outcome == "left out":
        assert len(passed) and all(case.said in reason for reason in passed.counts())
        assert str(len(passed)) in passed.line() and case.said in passed.line() and passed.items[0][0] in passed.table()
    else:
        assert not passed.items
    if case.outcome == "quarantine":
        assert len(broken) == 1 and case.said in broken[0] and str(tmp_path) not in broken[0]
    else:
        assert not broken
    if case.outcome == "read":
        assert case.said in source.taken_for and bool(case.said) == bool(source.taken_for)  # type: ignore[attr-defined]


def test_the_page_is_made_of_the_table() -> None:
    """If it differs: python -m tests.images.awkward > docs/awkward_files.md"""
    assert (DOCS / "awkward_files.md").read_text(encoding="utf-8") == page()

"""What write_report leaves in a folder: the figures as JSON, the drawings, and one page that shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.report.figures import all_figures
from salient_imagenet_data.evaluation.report.page import write_report
from salient_imagenet_data.evaluation.score.results import Against, Summary
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.store.reading import Store
from tests.evaluation.results import claim, condition, model, near, of_class, ratio, summary


@pytest.fixture
def found() -> Summary:
    against = Against(near(0.1), near(0.234))
    return summary(
        model(
            "a <model>",
            conditions=(condition("noise_0.5@spurious", 0.4, of_class(3, 1.0, 0.25)),),
            controls=(claim("noise_0.5@spurious", near(0.321), against),),
            ratios={"rfs": (ratio("noise_0.5", "", 0.345),)},
        )
    )


def test_the_folder_holds_the_figures_as_json_as_drawings_and_on_a_page(
    found: Summary, store: Store, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "er"
    page = write_report(found, folder, store, FolderSource(images))
    assert page == folder / "index.html" and write_report(found, folder, store, FolderSource(images)) == page
    text = (folder / "report.json").read_text()
    assert Summary.from_json(json.loads(text), "r") == found and text.startswith('{\n "store": {\n  "name"')
    assert text.endswith("}\n")
    drawn = all_figures(found.models)
    assert {p.stem: p.read_text() for p in (folder / "figures").iterdir()} == drawn and drawn
    shown = page.read_text()
    assert all(svg in shown for svg in drawn.values()) and shown.count("<svg") == len(drawn)
    assert "a &lt;model&gt;" in shown and "<model>" not in shown and "0.345" in shown and "0.234" in shown
    assert "RFS" in shown and "0.750" in shown and shown.count("data:image/png") >= 2
    assert "data:image/png" not in write_report(found, tmp_path / "none", store).read_text()


def test_nothing_is_written_over_a_strangers_page_and_no_number_that_is_none(
    found: Summary, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SalientError, match="not a page of ours"):
        write_report(found, tmp_path, store)
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    broken = replace(found, models=(replace(found.models[0], clean_accuracy=near(float("nan"))),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(broken, tmp_path / "r", store)

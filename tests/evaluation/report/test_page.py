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
from tests.evaluation.results import claim, condition, gap, grouped, model, near, of_class, ratio, summary


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


def test_groups_and_features_that_lift_or_lower_accuracy_are_on_the_page(
    found: Summary, store: Store, tmp_path: Path
) -> None:
    gaps = (gap(1, 0.912, 0.311), gap(2, 0.222, 0.833, kind="core"), gap(3, 0.5, 0.48))
    model = replace(found.models[0], groups=grouped(0.7, 0.9, 0.321, 0.8), feature_gaps=gaps)
    page = write_report(replace(found, models=(model, *found.models[1:])), tmp_path, store).read_text()
    for words in ("0.321", f"{store.class_names[1]}, cue hidden", "0.680", "0.690", "shown are the 0.5 of a class"):
        assert words in page.partition("<h2>Groups</h2>")[2], words
    rows = page.partition("<h2>Features that lift accuracy")[2].partition("</table>")[0].split("<tr>")[2:]
    assert ["0.912" in rows[0], "0.311" in rows[0], "0.601" in rows[0], "confusing" in rows[0]] == [True] * 3 + [False]
    assert (
        "0.222" in rows[1] and "0.833" in rows[1] and "-0.611" in rows[1] and "confusing" in rows[1] and len(rows) == 2
    )
    plain = write_report(found, tmp_path / "plain", store).read_text()
    assert "<h2>Groups</h2>" not in plain and "Features that lift accuracy" not in plain

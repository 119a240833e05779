"""The report of an evaluation: a JSON of everything, figures, and one HTML page that needs nothing else. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from salient_imagenet_data.evaluation.numbers.groups import Rule
from salient_imagenet_data.evaluation.plan.protocols import REGISTERED
from salient_imagenet_data.evaluation.plan.vocabulary import BY_KEY, corrupted_words, region_words
from salient_imagenet_data.evaluation.report.answer import answers
from salient_imagenet_data.evaluation.report.examples import largest_drops, with_images
from salient_imagenet_data.evaluation.report.figures import all_figures
from salient_imagenet_data.evaluation.report.gaps import SHOWN, sorted_gaps
from salient_imagenet_data.evaluation.score.results import Summary
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.pictures.charts import COLOURS
from salient_imagenet_data.pictures.page import check_page, render
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import write_text

ROOM = "salient_imagenet_data.evaluation.report"
REPORT_JSON, REPORT_PAGE, FIGURES = "report.json", "index.html", "figures"


def write_report(
    summary: Summary, folder: Path, store: Store, source: ImageSource | None = None, left_out: LeftOut = NOTHING
) -> Path:
    """Write report.json, figures/*.svg and index.html below `folder`; returns the page's path.

    summary: of `together.summarise`. source: the user's images; without it the page shows none. left_out:
    images that it does not show, those of the summary. Each file is there
    whole or not at all. Raises SalientError if a page that we did not make is there.
    """
    check_page(folder / REPORT_PAGE)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    figures = all_figures(summary.models)
    for name, svg in figures.items():
        write_text(folder / FIGURES / f"{name}.svg", svg)
    write_text(folder / REPORT_JSON, json.dumps(summary.to_json(), indent=1, allow_nan=False) + "\n")
    examples = {}
    for model in summary.models:
        drops = largest_drops(model)
        examples[model.name] = drops if source is None else with_images(drops, store, source, left_out=left_out)
    ratios = [(p, [m for m in summary.models if p.ratio.name in m.ratios]) for p in REGISTERED if p.ratio is not None]
    names = display_names(store.class_names)
    drawn = {"figures": figures, "examples": examples, "ratios": ratios, "names": names, "colours": COLOURS}
    drawn |= {"answers": answers(summary.models, summary.store.classes), "compare": BY_KEY, "words": corrupted_words}
    drawn["region"] = region_words
    drawn["gaps"] = [(i, sorted_gaps(m.feature_gaps)) for i, m in enumerate(summary.models) if m.feature_gaps]
    drawn |= {"shown": SHOWN, "rule_words": lambda rule: Rule.parse(rule).words}
    write_text(folder / REPORT_PAGE, render(ROOM, "report.html", summary=summary, **drawn))
    return folder / REPORT_PAGE

"""Does a classifier that looks at the core more lean on the cue less? Asked where the truth is known.

    python benchmarks/red_herring.py --work /tmp/red_herring --seeds 5

Viviano et al. (2021) found no strong correspondence between where guided classifiers look and how well they generalise.
Here classifiers that lean on a cue are trained further under every guidance loss, at several weights, from several
seeds; for each the alignment of its attributions with the core masks, and its accuracy on scenes in which the cue says
nothing. Over all losses and weights of a seed the rank correlation of both is taken, then the mean over seeds with a
bootstrap over them. What the work folder already holds is used again, so that more seeds can be added. Writes the
tables of docs/red_herring.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from scenes_reliance import DOCS, FRAME, TEST_SEED, TRAIN_SEED, scenes_store

from salient_imagenet_data.builder.attacking import correct
from salient_imagenet_data.builder.train import TrainConfig, load_images, train
from salient_imagenet_data.evaluation.mitigation.choices import CHOICES
from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune_on
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
from salient_imagenet_data.evaluation.mitigation.heads.retrain import retrain_head
from salient_imagenet_data.evaluation.mitigation.sweep import parted, tried_on
from salient_imagenet_data.evaluation.numbers.ranks import mean_over, spearman
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.saliency.alignment import align
from salient_imagenet_data.joining import join
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import SmallNetModel, save_smallnet
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.whole_file import write_text

CORRELATION, TRAINED_ON, TUNED_ON, TESTED_ON, WITHOUT = 0.9, 5000, 2400, 400, 2000
"""Scenes: how often the cue goes with its class; trained on; tuned on, of these; aligned on; without a telling cue."""
START = TrainConfig(epsilon=0.0, epochs=3, widths=(16, 32, 64), blocks=1, stem_stride=2, shift=0)
RECIPE: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-3}
BATCH = 16
LOSSES: dict[str, tuple[str | None, tuple[float, ...]]] = {
    "none": (None, (0.0,)),
    "corm": (None, (0.0,)),
    "energy": ("input", (3.0, 30.0)),
    "l1": ("last", (3.0, 30.0)),
    "ppce": ("last", (0.3, 3.0)),
    "rrr_star": ("input", (0.003, 0.03)),
    "rrr": (None, (0.003, 0.03)),
    "grad_mask": (None, (0.0003, 0.003)),
    "act_diff": (None, (0.3, 3.0)),
    "adversarial": (None, (0.3, 3.0)),
}
"""Where each looks, and its weights: half a power of ten to either side of those of docs/scenes_mitigation.md."""
METHODS = ("input_x_gradient", "grad_cam")
TRUTH, SEEN = "accuracy without the cue", "accuracy with the cue"
HELD = "accuracy on the least spurious held out"
KEPT = 0.05
"""A treatment keeps the accuracy that loses at most so much of it, with the cue, against training without guidance."""
Row = dict[str, Any]


def start(seed: int, work: Path) -> SmallNetModel:
    """A classifier that leans on the cue, from the work folder if it is there."""
    path = work / f"start-{seed}.safetensors"
    if not path.exists():
        scenes = SceneSource(TRAINED_ON, seed=TRAIN_SEED, correlation=CORRELATION)
        pixels, labels, _ = load_images(scenes, FRAME, START.memory_limit)
        config = replace(START, seed=seed)
        save_smallnet(train(pixels, labels, scenes.class_names, FRAME, config), path)
    model, _ = load_model(path)
    assert isinstance(model, SmallNetModel)
    return model


def treatments() -> Iterator[tuple[str, str | None, float]]:
    """Loss, depth and weight, as the heads "head CHOICE"."""
    yield "before", None, 0.0
    for choice in CHOICES:
        yield f"head {choice}", None, 0.0
    for loss, (depth, weights) in LOSSES.items():
        for weight in weights:
            yield loss, depth, weight


class Bench:
    """What is trained on, and what all treatments are measured on."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.tuning = scenes_store(work / "training", TUNED_ON, TRAIN_SEED)
        self.parts = parted(join(*self.tuning))
        self.testing = scenes_store(work / "testing", TESTED_ON, TEST_SEED)
        scenes = SceneSource(WITHOUT, seed=TEST_SEED + 1, correlation=0.0)
        self.pixels, self.labels, _ = load_images(scenes, FRAME, 1 << 30)
        shown = SceneSource(WITHOUT, seed=TEST_SEED + 2, correlation=CORRELATION)
        self.shown, self.shown_labels, _ = load_images(shown, FRAME, 1 << 30)

    def row(self, seed: int, loss: str, depth: Any, weight: float) -> Row:
        """One treatment of a seed's classifier, measured; from the work folder if it is there."""
        path = self.work / "rows" / f"{seed}-{loss.replace(' ', '_')}-{weight:g}.json"
        if path.exists():
            found: Row = json.loads(path.read_text())
            return found
        begun, settings = time.perf_counter(), Settings(BATCH, seed=seed)
        classifier = Classifier("scenes", start(seed, self.work))
        network: Any = classifier.model
        if loss.startswith("head"):
            choice: Any = loss.removeprefix("head ")
            network, _ = retrain_head(classifier, *self.tuning, Spuriosity(choice, most=20), settings)
        elif loss != "before":
            config = FinetuneConfig(loss=loss, weight=weight, depth=depth, **RECIPE)
            network, _ = finetune_on(classifier, self.parts.training, config, settings)
        row: Row = {"seed": seed, "loss": loss, "weight": weight} | self.figures(network, not loss.startswith("head"))
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(row))
        said = ", ".join(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
        click.echo(f"seed {seed} {loss}: {said} ({time.perf_counter() - begun:.0f} s)")
        return row

    def figures(self, network: Any, untouched: bool) -> Row:
        """All measures. untouched: whether the held-out part of the scenes to tune on was kept from it."""
        found: Row = {
            TRUTH: float(correct(network, self.pixels, self.labels).mean()),
            SEEN: float(correct(network, self.shown, self.shown_labels).mean()),
        }
        for method in METHODS:
            figures = align(Classifier("m", network), *self.testing, saliency=method, settings=Settings(100))  # type: ignore[arg-type]
            for name in ("mass", "mass_spurious", "iou"):
                found[f"{name}, {method}"] = getattr(figures, name).value
        if untouched:
            held = tried_on(self.parts, network, FRAME, 0.0, Settings(200))
            found[HELD] = held.least.value
        return found


def correlations(rows: list[Row], measure: str, seeds: int, kept: Callable[[Row], bool]) -> np.ndarray[Any, Any]:
    """(s,) Spearman's rank correlation of a measure with the truth, over the treatments of each seed that are kept."""
    found = []
    for seed in range(seeds):
        mine = [r for r in rows if r["seed"] == seed and measure in r and kept(r)]
        found.append(spearman(*np.array([(r[measure], r[TRUTH]) for r in mine]).T))
    return np.array(found)


def chosen(rows: list[Row], seed: int, loss: str) -> Row:
    """The weight of a loss that the held-out images choose."""
    mine = [r for r in rows if r["seed"] == seed and r["loss"] == loss]
    return max(mine, key=lambda r: (r.get(HELD, 0.0), -r["weight"]))


def tables(rows: list[Row], seeds: int) -> str:
    """Markdown: correlations with the truth, then every loss at the weight that held-out images choose."""
    measures = [f"{name}, {method}" for method in METHODS for name in ("mass", "iou", "mass_spurious")]
    measures += [SEEN, HELD]
    control = {r["seed"]: r[SEEN] for r in rows if r["loss"] == "none"}
    columns: dict[str, Callable[[Row], bool]] = {
        "all guidance": lambda r: r["loss"] in LOSSES,
        "that keeps the accuracy": lambda r: r["loss"] in LOSSES and r[SEEN] >= control[r["seed"]] - KEPT,
        "without `energy`": lambda r: r["loss"] in LOSSES and r["loss"] != "energy",
        "with heads": lambda r: r["loss"] != "before",
    }
    lines = [f"| measure | {' | '.join(columns)} | all guidance, seed by seed |"]
    lines.append("| --- |" + " ---: |" * len(columns) + " --- |")
    for measure in measures:
        found = {name: correlations(rows, measure, seeds, kept) for name, kept in columns.items()}
        cells = [mean_over(values).words for values in found.values()]
        if measure == HELD:
            cells[-1] = ""  # heads are fitted on what is held out
        lines.append(f"| {measure} | {' | '.join(cells)} | {', '.join(f'{v:.2f}' for v in found['all guidance'])} |")
    lines += [
        "",
        "| treatment | weights chosen | without the cue | with the cue | mass, input x gradient | mass, Grad-CAM |",
    ]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: |"]
    for loss in ("before", *(f"head {choice}" for choice in CHOICES), *LOSSES):
        mine = [chosen(rows, seed, loss) for seed in range(seeds)]
        weights = ", ".join(f"{r['weight']:g}" for r in mine) if len(LOSSES.get(loss, (None, ()))[1]) > 1 else ""
        keys = (TRUTH, SEEN, "mass, input_x_gradient", "mass, grad_cam")
        cells = [mean_over(np.array([r[key] for r in mine])).words for key in keys]
        lines.append(f"| {loss} | {weights} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for all it makes."
)
@click.option("--seeds", type=click.IntRange(1), default=5, help="How many.")
def main(work: Path, seeds: int) -> None:
    """Treat, measure, correlate; write the tables into the page of the docs between its two marks."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(work)
    rows = [bench.row(seed, *treatment) for seed in range(seeds) for treatment in treatments()]
    found = tables(rows, seeds)
    click.echo(found)
    page = DOCS / "red_herring.md"
    before, mark, rest = page.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    _, end, after = rest.partition("<!-- end of tables -->\n")
    write_text(page, f"{before}{mark}\n{found}\n{end}{after}")


if __name__ == "__main__":
    main()

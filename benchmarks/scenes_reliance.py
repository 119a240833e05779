"""Does the evaluation measure what it claims? Classifiers of known reliance on a cue, ranked by measured reliance.

    python benchmarks/scenes_reliance.py --work /tmp/reliance

trains classifiers on scenes in which the cue goes with its class in 50, 75, 90 and 99 % of the images, builds a store
as the demo does, evaluates all of them on it, and writes docs/scenes_reliance.md and docs/scenes_reliance.svg. What the
work folder already holds is used again. Ends with status 1 if RCS does not rank them in the order of
the correlations.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import torch

from salient_imagenet_data.builder.attacking import correct
from salient_imagenet_data.builder.train import TrainConfig, load_images, train
from salient_imagenet_data.demo.study import scenes_store as store_of_scenes
from salient_imagenet_data.evaluation.evaluate import run_models
from salient_imagenet_data.evaluation.numbers.estimates import Estimate, wilson
from salient_imagenet_data.evaluation.plan.plan import Conditions
from salient_imagenet_data.evaluation.report.figures import interval
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import SmallNetModel, save_smallnet
from salient_imagenet_data.pictures.charts import COLOURS, Canvas
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import write_text

CORRELATIONS = (0.5, 0.75, 0.9, 0.99)
TRAINED_ON, TRAIN_SEED, TESTED_ON, TEST_SEED = 8000, 1, 1000, 2022
FRAME = Preprocessing(64, 64)
LEVELS = (0.25, 0.5)
DOCS = Path(__file__).parents[1] / "docs"
PAGE = """# Known reliance, measured reliance

Does the evaluation measure what it claims? Here the answer is known beforehand. Plainly trained classifiers have seen
scenes ([scenes.md](scenes.md)) in which the class's cue is shown in 50, 75, 90 or 99 % of the images. The more often,
the more a network leans on it: the accuracy on scenes whose cue says nothing about the class falls. That is the
truth, and it needs scenes made for the purpose. The evaluation never sees those: it has one store, masks made by the
robust network, and scenes with the cue at 90 %.

![RCS against the cue's correlation](scenes_reliance.svg)

TABLE
RCS is that of the protocol "corm2022"; the gap that of "spuriosity2023". The last two columns are "iclr2022": how much
accuracy noise on the spurious and on the core pixels costs. A single drop also holds how much any noise hurts a
network, which differs between them; that is why reliance is read from a contrast (RCS, or the excess over a control).

Made by

```
python benchmarks/scenes_reliance.py --work /tmp/reliance --seeds SEEDS
```

with one thread on a CPU. Training is deterministic for one processor, torch version and number of threads; elsewhere
the figures differ a little.
"""


@dataclass(frozen=True)
class Measured:
    """One classifier. seen: accuracy on the store's scenes; decorrelated: where cues say nothing about the class."""

    correlation: float
    seed: int
    seen: Estimate
    decorrelated: Estimate
    rcs: tuple[Estimate, ...]
    gap: Estimate
    drops: tuple[Estimate, ...]


def weights_name(correlation: float, seed: int) -> str:
    """Name of a classifier and of its file."""
    return f"cue-{round(100 * correlation)}-seed-{seed}"


def classifier(correlation: float, seed: int, work: Path) -> SmallNetModel:
    """A plainly trained network, from the work folder if it is there."""
    path = work / f"{weights_name(correlation, seed)}.safetensors"
    if not path.exists():
        config = TrainConfig(epsilon=0.0, epochs=3, widths=(24, 48, 96), blocks=1, stem_stride=2, shift=0, seed=seed)
        scenes = SceneSource(TRAINED_ON, seed=TRAIN_SEED, correlation=correlation)
        pixels, labels, _ = load_images(scenes, FRAME, config.memory_limit)
        save_smallnet(train(pixels, labels, scenes.class_names, FRAME, config), path)
    model, _ = load_model(path)
    assert isinstance(model, SmallNetModel)
    return model


def scenes_store(work: Path, count: int = TESTED_ON, seed: int = TEST_SEED) -> tuple[Store, FolderSource]:
    """A store of scenes with the cue at 90 %, masks by the embedded robust network, answers from the truth."""
    return store_of_scenes(work, SceneSource(count, seed=seed, correlation=0.9))


def measure(work: Path, seeds: tuple[int, ...]) -> list[Measured]:
    """Every classifier, by seed and correlation."""
    store, source = scenes_store(work)
    plan = Conditions(("corm2022", "spuriosity2023", "iclr2022"), LEVELS, controls=False).plan(store)
    x, y, _ = load_images(SceneSource(1000, seed=TEST_SEED + 1, correlation=0.0), FRAME, 1 << 30)
    rows = []
    for seed in seeds:
        for correlation in CORRELATIONS:
            model = classifier(correlation, seed, work)
            name = weights_name(correlation, seed)
            details = {"weights_sha256": file_sha256(work / f"{name}.safetensors")}
            opener = {name: lambda n=name, m=model, d=details: Classifier(n, m, None, d)}
            (file,), _ = run_models(opener, store, source, plan, work / "predictions", Settings(128))
            result = score(file, store)
            hits = correct(model, x, y)
            rcs = tuple(row.ratio for row in result.ratios["rcs"])
            drop = {c.name: c.drop for c in result.conditions}
            drops = tuple(drop[f"noise_{LEVELS[1]:g}@{region}"] for region in ("spurious", "core"))
            plain = wilson(int(hits.sum()), len(hits))
            rows.append(Measured(correlation, seed, result.clean_pooled, plain, rcs, result.spurious_gap, drops))
            click.echo(f"{name}: decorrelated {plain.value:.3f}, RCS {[round(r.value, 3) for r in rcs]}")
    return rows


def ordered(rows: list[Measured], seeds: tuple[int, ...]) -> dict[str, bool]:
    """Whether each measure ranks the classifiers of every seed as their correlations do."""

    def in_order(values: list[float]) -> bool:
        return all(a < b for a, b in pairwise(values))

    by_seed = [[r for r in rows if r.seed == seed] for seed in seeds]
    result = {
        f"RCS at {s:g}": all(in_order([-r.rcs[i].value for r in g]) for g in by_seed) for i, s in enumerate(LEVELS)
    }
    result["drop under noise on spurious pixels"] = all(in_order([r.drops[0].value for r in g]) for g in by_seed)
    result["spurious gap"] = all(in_order([r.gap.value for r in g]) for g in by_seed)
    result["accuracy without the cue"] = all(in_order([-r.decorrelated.value for r in g]) for g in by_seed)
    return result


def table(rows: list[Measured], verdicts: dict[str, bool]) -> str:
    """The page of the docs."""

    def cell(e: Estimate) -> str:
        return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"

    head = [
        "cue",
        "seed",
        "accuracy",
        "accuracy without the cue",
        *(f"RCS, sigma {s:g}" for s in LEVELS),
        "spurious gap",
    ]
    head += [f"drop, noise {LEVELS[1]:g} on {region}" for region in ("spurious", "core")]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---:"] * len(head)) + " |"]
    for r in rows:
        cells = [
            f"{100 * r.correlation:.0f} %",
            str(r.seed),
            cell(r.seen),
            cell(r.decorrelated),
            *map(cell, r.rcs),
            cell(r.gap),
            *map(cell, r.drops),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    said = [f"- {name}: {'in order for every seed' if right else 'not in order'}" for name, right in verdicts.items()]
    return "\n".join([*lines, "", "Ranked by it as by the cue's correlation?", "", *said, ""])


def figure(rows: list[Measured], seeds: tuple[int, ...]) -> str:
    """RCS at the first level, and accuracy without the cue, against the cue's correlation."""
    low = min(-0.1, *(r.rcs[0].low for r in rows))
    canvas = Canvas(
        (45.0, 104.0), (low, 1.0), f"RCS at sigma {LEVELS[0]:g} (full), accuracy without the cue (dashed)", width=620
    )
    ticks = [t / 4 for t in range(-4, 5) if t / 4 >= low]
    canvas.axes([100 * c for c in CORRELATIONS], ticks, "scenes that show the class's cue, in training, %", "")
    for index, seed in enumerate(seeds):
        group, colour = [r for r in rows if r.seed == seed], COLOURS[index]
        canvas.line([(100 * r.correlation, r.rcs[0].value) for r in group], colour)
        canvas.line([(100 * r.correlation, r.decorrelated.value) for r in group], colour, dashed=True)
        for r in group:
            x = 100 * r.correlation
            canvas.line([(x, r.rcs[0].low), (x, r.rcs[0].high)], colour, width=1.2)
            canvas.dot(x, r.rcs[0].value, colour, f"seed {seed}: {interval(r.rcs[0])}")
            canvas.dot(x, r.decorrelated.value, colour, f"seed {seed}: {interval(r.decorrelated)}", hollow=True)
    return canvas.svg() + "\n"


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for all it makes."
)
@click.option("--seeds", default="0,1", help="Seeds of training.")
@click.option("--threads", type=int, default=1, help="Of torch; another number rounds differently.")
def main(work: Path, seeds: str, threads: int) -> None:
    """Train, evaluate, and write the table and the figure of the docs."""
    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    numbers = tuple(int(seed) for seed in seeds.split(","))
    rows = measure(work, numbers)
    verdicts = ordered(rows, numbers)
    write_text(DOCS / "scenes_reliance.md", PAGE.replace("TABLE", table(rows, verdicts)).replace("SEEDS", seeds))
    write_text(DOCS / "scenes_reliance.svg", figure(rows, numbers))
    sys.exit(0 if all(verdicts[f"RCS at {sigma:g}"] for sigma in LEVELS) else 1)


if __name__ == "__main__":
    main()

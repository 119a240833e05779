"""How many planted wrong labels confident learning finds, and how many of its candidates are wrong.

    python benchmarks/label_errors.py
    python benchmarks/label_errors.py --store STORE --predictions FILE

On scenes whose labels are right, a share of the labels is replaced, each by another class drawn at random, or each by
the same next class. Candidates come of the answers of the embedded networks, which were trained on other scenes, and of
heads fitted fold by fold on their features and the wrong labels. Beside them what needs no confident learning: every
image that is answered otherwise than labelled. The last column: of the candidates whose label is right, the share that
shows another cue than its class's, or none; of all scenes of the classes that have one the first line says it.

With a store and a file of predictions (`evaluate --top-k 0`), on its labels, as if they were right.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from salient_imagenet_data.evaluation.labels.answered import from_predictions
from salient_imagenet_data.evaluation.labels.candidates import OutOfSample, label_errors
from salient_imagenet_data.evaluation.labels.choices import DECAY, FOLDS, Prune
from salient_imagenet_data.evaluation.labels.crossed import held_out, parts_of
from salient_imagenet_data.evaluation.run.predictions import read_predictions
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.store.reading import Store

PRUNES: tuple[Prune, ...] = ("noise-rate", "class", "both")
BATCH = 64


def features_and_answers(network: str, source: SceneSource) -> tuple[torch.Tensor, np.ndarray]:
    """(n, F) pooled features and (n, C) probabilities."""
    with as_file(files("salient_imagenet_data.scenes") / f"{network}.safetensors") as weights:
        model, _ = load_model(str(weights))
    features, answers = [], []
    with torch.inference_mode():
        for start in range(0, len(source), BATCH):
            crops = [model.preprocessing.apply(source.pixels(i)) for i in range(start, min(start + BATCH, len(source)))]
            x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255.0
            pooled = model.maps_and_features(x)[1]
            features.append(pooled)
            answers.append(model.logits(pooled).double().softmax(dim=1).numpy())
    return torch.cat(features).clone(), np.concatenate(answers)


def planted(truth: np.ndarray, share: float, how: str, classes: int, seed: int) -> np.ndarray:
    """Labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(truth))[: round(share * len(truth))]
    labels = truth.copy()
    labels[rows] = (truth[rows] + (rng.integers(1, classes, len(rows)) if how == "any" else 1)) % classes
    return labels


def chosen(given: OutOfSample, names: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Candidates by each way of choosing, (n,) bool."""
    place = {image_id: row for row, image_id in enumerate(given.image_ids)}
    for prune in PRUNES:
        found = np.zeros(len(place), dtype=bool)
        found[[place[c.image_id] for c in label_errors(given, names, prune).candidates]] = True
        yield prune, found
    yield "answered otherwise", given.probabilities.argmax(axis=1) != given.labels


Source = Callable[[np.ndarray], np.ndarray]
"""From labels (n,) to probabilities (n, C)."""


@dataclass(frozen=True)
class Given:
    """shares: of wrong labels. seeds: how many draws. has_cue, other_cue: (n,) bool, the image's class has a cue, and
    the image shows another or none."""

    shares: list[float]
    seeds: int
    has_cue: np.ndarray
    other_cue: np.ndarray


def report(
    who: str, sources: dict[str, Source], truth: np.ndarray, names: tuple[str, ...], ids: tuple[str, ...], given: Given
) -> None:
    """Print recall and precision of each source of probabilities, by share and kind of wrong labels."""
    for share in given.shares:
        for how in ("any", "next") if share else ("any",):
            rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
            for seed in range(given.seeds if share else 1):
                labels = planted(truth, share, how, len(names), seed)
                wrong = labels != truth
                for kind, source in sources.items():
                    for how_chosen, found in chosen(OutOfSample(ids, labels, source(labels), kind), names):
                        right = float((found & wrong).sum())
                        recall = right / wrong.sum() if share else float("nan")
                        precision = right / found.sum() if found.any() else float("nan")
                        falsely = found & ~wrong & given.has_cue
                        misled = float(given.other_cue[falsely].mean()) if falsely.any() else float("nan")
                        values = (float(found.sum()), recall, precision, float(falsely.sum()), misled)
                        rows.setdefault((kind, how_chosen), []).append(values)
            for (kind, how_chosen), values_of in rows.items():
                count, recall, precision, false, misled = np.mean(values_of, axis=0)
                words = f"{share:.0%} {how}" if share else "none"
                print(
                    f"{who:<9} {kind:<13} {words:<13} {how_chosen:<18} {count:>6.0f} {recall:>7.3f} "
                    f"{precision:>9.3f} {false:>6.0f} {misled:>9.3f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.02, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--predictions", type=Path)
    asked = parser.parse_args()
    heading = f"{'network':<9} {'probabilities':<13} {'wrong labels':<13} {'chosen by':<18} {'found':>6} "
    heading += f"{'recall':>7} {'precision':>9} {'with cue':>6} {'other cue':>9}"
    if asked.store is not None:
        store = Store(asked.store)
        found = from_predictions(read_predictions(asked.predictions, len(store.class_names)), store)
        nothing = np.zeros(len(found.labels), dtype=bool)
        print(f"{len(found.labels)} images of {asked.store.name}, means over {asked.seeds} draws\n{heading}")
        given = Given(asked.shares, asked.seeds, nothing, nothing)
        answered: dict[str, Source] = {"its answers": lambda labels: found.probabilities}
        report(asked.predictions.stem, answered, found.labels, store.class_names, found.image_ids, given)
        return
    source = SceneSource(asked.scenes, seed=2022)
    names = source.class_names
    ids = tuple(source.entry(i).image_id for i in range(len(source)))
    truth = np.array([source.entry(i).label for i in range(len(source))])
    cues = {c.name: c.cue for c in CLASSES}
    has = np.array([cues[names[label]] is not None for label in truth])
    other = has & np.array([source.scene(i).cue != cues[names[label]] for i, label in enumerate(truth)])
    print(f"{asked.scenes} scenes, means over {asked.seeds} draws; {other.sum() / has.sum():.3f} show another cue")
    print(heading)
    for network in ("standard", "robust"):
        features, answers = features_and_answers(network, source)

        def heads(labels: np.ndarray, features: torch.Tensor = features) -> np.ndarray:
            parts = parts_of(ids, labels, FOLDS)
            return held_out(features, torch.from_numpy(labels), parts, len(names), DECAY).numpy()

        sources: dict[str, Source] = {"its answers": lambda labels, p=answers: p, "heads": heads}
        report(network, sources, truth, names, ids, Given(asked.shares, asked.seeds, has, other))


if __name__ == "__main__":
    main()

"""How many planted wrong labels confident learning finds, and how many of its candidates are wrong.

    python benchmarks/label_errors.py

On scenes whose labels are right, a share of the labels is replaced, each by another class drawn at random, or each by
the same next class. Candidates come of the answers of the embedded networks, which were trained on other scenes, and of
heads fitted fold by fold on their features and the wrong labels. Beside them what needs no confident learning: every
image that is answered otherwise than labelled. The last column: of the candidates whose label is right, the share that
shows another cue than its class's, or none; of all scenes of the classes that have one the first line says it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.resources import as_file, files

import numpy as np
import torch

from salient_imagenet_data.evaluation.labels.candidates import OutOfSample, label_errors
from salient_imagenet_data.evaluation.labels.choices import DECAY, FOLDS, Prune
from salient_imagenet_data.evaluation.labels.crossed import held_out, parts_of
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.scenes import CLASSES, SceneSource

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.02, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    source = SceneSource(given.scenes, seed=2022)
    names = source.class_names
    ids = tuple(source.entry(i).image_id for i in range(len(source)))
    truth = np.array([source.entry(i).label for i in range(len(source))])
    cues = {c.name: c.cue for c in CLASSES}
    has = np.array([cues[names[label]] is not None for label in truth])
    other = has & np.array([source.scene(i).cue != cues[names[label]] for i, label in enumerate(truth)])
    print(f"{given.scenes} scenes, means over {given.seeds} draws; {other.sum() / has.sum():.3f} show another cue")
    print(
        f"{'network':<9} {'probabilities':<13} {'wrong labels':<13} {'chosen by':<18} {'found':>6} "
        f"{'recall':>7} {'precision':>9} {'other cue':>9}"
    )
    for network in ("standard", "robust"):
        features, answers = features_and_answers(network, source)
        for share in given.shares:
            for how in ("any", "next") if share else ("any",):
                rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
                for seed in range(given.seeds if share else 1):
                    labels = planted(truth, share, how, len(names), seed)
                    wrong, parts = labels != truth, parts_of(ids, labels, FOLDS)
                    heads = held_out(features, torch.from_numpy(labels), parts, len(names), DECAY).numpy()
                    for kind, p in (("its answers", answers), ("heads", heads)):
                        for how_chosen, found in chosen(OutOfSample(ids, labels, p, kind), names):
                            right = float((found & wrong).sum())
                            recall = right / wrong.sum() if share else float("nan")
                            falsely = found & ~wrong & has
                            misled = float(other[falsely].mean()) if falsely.any() else float("nan")
                            precision = right / found.sum() if found.any() else float("nan")
                            rows.setdefault((kind, how_chosen), []).append(
                                (float(found.sum()), recall, precision, misled)
                            )
                for (kind, how_chosen), values in rows.items():
                    count, recall, precision, misled = np.mean(values, axis=0)
                    planted_words = f"{share:.0%} {how}" if share else "none"
                    print(
                        f"{network:<9} {kind:<13} {planted_words:<13} {how_chosen:<18} {count:>6.0f} {recall:>7.3f} "
                        f"{precision:>9.3f} {misled:>9.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

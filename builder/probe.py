"""A linear probe: a head for a network that has none for the classes of the images, fitted on these images.

The head is the ridge regression of the classes on the features, in closed form from sums, so that no order of images,
number of steps or learning rate plays a part. Some images of each class are held out: on them the decay is chosen and
the accuracy is measured. The network is then saved with its head, and is a classifier like any other.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salient_imagenet_data.builder.backbones import open_backbone
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.units.batching import batches
from salient_imagenet_data.builder.units.decoding import check_decoder
from salient_imagenet_data.builder.units.forward import numerics, run_model
from salient_imagenet_data.errors import ImageError, SalientError, some
from salient_imagenet_data.folds import lowest_of_each
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.source import ImageSource, ids_of, labels_of
from salient_imagenet_data.networks.checkpoint import read_checkpoint
from salient_imagenet_data.networks.devices import move
from salient_imagenet_data.networks.robust import ImageClassifier, robust_model
from salient_imagenet_data.networks.saving import check_out
from salient_imagenet_data.networks.weights import save_network
from salient_imagenet_data.progress import progress

PER_CLASS = 300
"""Images of a class that the probe sees at most."""
HELD_OUT = 10
"""One in so many of them is held out."""
DECAYS = tuple(float(d) for d in 10.0 ** np.arange(-6, 1))
"""To choose from, in units of the mean variance of a feature."""
SCALES = tuple(float(s) for s in 2.0 ** np.arange(-2, 10.25, 0.25))
"""Of the logits, to choose from: a regression's are between 0 and 1, which says nothing about how sure it is."""


@dataclass(frozen=True)
class Head:
    """weight: (C, F); bias: (C,), zeros for a head without. decay, scale: chosen. accuracy: share of the images held
    out that are classified right; None without any."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    decay: float
    scale: float
    accuracy: float | None


def choose(
    image_ids: list[str], labels: NDArray[np.integer], most: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit on, and rows held out, each ascending: of every class the `most` first by a hash of seed and id
    (`lowest_of_each`); of these one in `HELD_OUT`, at least one where there are two."""
    chosen = lowest_of_each(image_ids, labels, most, str(seed))
    fit: list[NDArray[np.int64]] = []
    held: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        rows = chosen[labels[chosen] == label]
        out = max(len(rows) // HELD_OUT, int(len(rows) > 1))
        held.append(rows[:out])
        fit.append(rows[out:])
    return np.sort(np.concatenate(fit)), np.sort(np.concatenate(held))


class Sums:
    """What a ridge regression needs of features: float64 sums. weights: (C,) of one image of each class."""

    def __init__(self, weights: NDArray[np.float64], features: int) -> None:
        self.weights = weights
        self.counts = np.zeros(len(weights))
        self.by_class = np.zeros((len(weights), features))
        self.products = np.zeros((features, features))

    def add(self, features: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        """features: (n, F); labels: (n,)."""
        x = features.astype(np.float64)
        np.add.at(self.counts, labels, 1)
        np.add.at(self.by_class, labels, x)
        self.products += (x * self.weights[labels][:, None]).T @ x


def solve(sums: Sums, held: NDArray[np.floating], labels: NDArray[np.integer], *, with_bias: bool = True) -> Head:
    """The head that minimises the mean of |W x + b - y|^2 + decay v |W|^2, where y is 1 for the image's class and else
    0, the mean gives each image its weight, and v is the mean variance of a feature.

    held: (m, F) features of images that the sums do not hold, and labels (m,) theirs: the decay that is right most
    often on them is taken, the larger of equals, then the scale of least cross entropy. Raises SalientError for
    features that do not vary.
    """
    share = sums.weights * sums.counts
    total = share.sum()
    share, cross = share / total, sums.by_class * (sums.weights / total)[:, None]
    covariance, mean = sums.products / total, cross.sum(axis=0)
    if with_bias:
        covariance, cross = covariance - np.outer(mean, mean), cross - np.outer(share, mean)
    variance = float(np.trace(covariance)) / len(covariance)
    if not variance > 0:
        raise SalientError("probe: no head can be fitted", expected="features that vary", got="the same of every image")
    values, vectors = np.linalg.eigh(covariance)
    turned = cross @ vectors
    heads = []
    for decay in DECAYS:
        weight = turned / (np.maximum(values, 0.0) + decay * variance) @ vectors.T
        heads.append((decay, weight, share - weight @ mean if with_bias else np.zeros(len(weight))))
    if not len(labels):
        decay, weight, bias = heads[DECAYS.index(1e-3)]
        return Head(weight, bias, decay, 1.0, None)
    right = [float(((held @ w.T + b).argmax(axis=1) == labels).mean()) for _, w, b in heads]
    best = max(range(len(heads)), key=lambda k: (right[k], heads[k][0]))
    decay, weight, bias = heads[best]
    logits = torch.from_numpy(held @ weight.T + bias)
    target = torch.from_numpy(labels.astype(np.int64))
    losses = [float(torch.nn.functional.cross_entropy(scale * logits, target)) for scale in SCALES]
    scale = SCALES[int(np.argmin(losses))]
    return Head(weight * scale, bias * scale, decay, scale, right[best])


def probed(
    source: ImageSource,
    weights: str | Path,
    architecture: str | None,
    out: Path,
    *,
    preprocessing: Preprocessing | None = None,
    sha256: str | None = None,
    config: BuildConfig,
    run: RunConfig,
    most: int = PER_CLASS,
    seed: int = 0,
) -> str:
    """Put a new head on a network, fit it on the images, and write the network to `out`, with a note that says how it
    was made. A file that is there and was made of the same is taken as it is. Returns what a person should hear of it.

    most: images of a class. Raises SalientError where `open_backbone` does, for another file at `out`, or a class
    without a readable image to fit on.
    """
    if not out.exists():
        check_out(out, option="--probe")
    opened = open_backbone(weights, architecture, len(source.class_names), sha256=sha256)
    wanted = preprocessing or opened.preprocessing
    assert wanted is not None  # of timm's and torchvision's networks
    ids = ids_of(source).to_pylist()
    labels = labels_of(source)
    listed = "\n".join(f"{image_id} {label}" for image_id, label in zip(ids, labels.tolist(), strict=True))
    made_of = {
        "backbone_sha256": opened.details["weights_sha256"],
        "spec": str(opened.details["spec"]),
        "preprocessing": asdict(wanted),
        "class_names": list(source.class_names),
        "images_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "most_of_a_class": most,
        "seed": seed,
    }
    if out.exists():
        return _told(out, _same(out, made_of))
    model = robust_model(opened, wanted)
    assert isinstance(model, ImageClassifier)
    check_decoder(config.decoder, run.device, model.preprocessing)
    fit, held = choose(ids, labels, most, seed)
    rows = np.sort(np.concatenate([fit, held]))
    chosen = np.bincount(labels[fit], minlength=len(source.class_names))
    sums = Sums(1.0 / np.maximum(chosen, 1), model.weight.shape[1])
    kept: list[tuple[NDArray[np.float32], NDArray[np.integer]]] = []
    failed: list[tuple[int, ImageError]] = []
    move(model, run.device)
    stream = batches(
        source,
        rows.tolist(),
        model.preprocessing,
        config.batch_size,
        failed,
        config.decoder,
        device=run.device,
        threads=run.threads,
    )
    shown = progress((), total=len(rows), what="probe")
    with numerics(config.precision, run.device), closing(stream), shown as bar:
        for batch in stream:
            features = run_model(model, batch.images, config.precision, run.device)[1].cpu().numpy()
            mine = np.isin(batch.indices, held)
            sums.add(features[~mine], labels[batch.indices[~mine]])
            kept.append((features[mine], labels[batch.indices[mine]]))
            bar.update(len(features))
    if empty := [name for name, count in zip(source.class_names, sums.counts, strict=True) if not count]:
        raise SalientError(f"probe: no readable image of {some(empty)}", expected="at least one of each class")
    test, truth = (np.concatenate(column) for column in zip(*kept, strict=True))
    head = solve(sums, test, truth, with_bias=model.head.bias is not None)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(head.weight))
        if model.head.bias is not None:
            model.head.bias.copy_(torch.from_numpy(head.bias))
    note = made_of | {
        "fitted_on": int(sums.counts.sum()),
        "held_out": len(truth),
        "accuracy": head.accuracy,
        "decay": head.decay,
        "scale": head.scale,
        "unreadable": len(failed),
        "precision": config.precision,
        "decoder": config.decoder,
    }
    save_network(model.net, out, model.mean, model.std, probe=note)
    return _told(out, note)


def _same(out: Path, made_of: dict[str, Any]) -> dict[str, Any]:
    """The note of a probe that is there. Raises SalientError unless it was made of the same."""
    note = read_checkpoint(out).probe
    other = [key for key, value in made_of.items() if note is None or note.get(key) != value]
    if note is None or other:
        raise SalientError(
            f"{out}: not a probe of these images and this network",
            got=f"another {', '.join(other)}" if note is not None else "a file that is no probe",
            then="give --probe another name",
        )
    return note


def _told(out: Path, note: dict[str, Any]) -> str:
    """What a person should hear of a probe."""
    held = note["held_out"]
    right = f"{note['accuracy']:.1%} right on {held} held out" if held else "none held out"
    return f"probe {out}: a head fitted on {note['fitted_on']} images, {right}"

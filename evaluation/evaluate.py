"""Run a classifier under masked noise and score it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.metrics import Estimate, class_average, wilson
from salient_imagenet_data.evaluation.protocols import ACCURACY_OF, Region, iclr2022
from salient_imagenet_data.images import ImageSource
from salient_imagenet_data.join import Joined, Missing, join
from salient_imagenet_data.loaders.corruptions import gaussian_noise, image_generator
from salient_imagenet_data.masks import union_in_crop
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.progress import progress
from salient_imagenet_data.store import Store

Model = Callable[[Tensor], Tensor]
"""(B, 3, S, S) float32 in [0, 1], in the store's crop frame -> logits (B, C). Normalisation is the model's."""

NOT_RUN = -1


@dataclass(frozen=True)
class Predictions:
    """rows: (n,) store rows. labels: (n,). clean: (n,) predicted classes. noisy: by (region, sigma), (n,), NOT_RUN
    where the image has no such mask."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    clean: NDArray[np.int64]
    noisy: dict[tuple[str, float], NDArray[np.int64]]


@dataclass(frozen=True)
class _Item:
    """One image: (3, S, S) uint8, and for each region its mask (S, S) float32, or None where it does not count."""

    position: int
    image_id: str
    image: Tensor
    masks: list[Tensor | None]


class _Regions(Dataset[_Item]):
    """Images with the union mask of each region."""

    def __init__(self, joined: Joined, regions: Sequence[Region]) -> None:
        self.joined, self.regions = joined, regions
        _ = joined.store.maps

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, position: int) -> _Item:
        store, row = self.joined.store, self.joined.rows[position]
        size = store.manifest.preprocessing.crop
        chosen = [region.chosen[row] for region in self.regions]
        return _Item(
            position,
            store.rows[row].image_id,
            torch.from_numpy(self.joined.crop(position)).permute(2, 0, 1),
            [torch.from_numpy(union_in_crop(store.maps[row], c, size, size)) if c.any() else None for c in chosen],
        )


def predict(
    model: Model,
    store: Store,
    source: ImageSource,
    regions: Sequence[Region],
    sigmas: Sequence[float],
    *,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    missing: Missing = "error",
    device: str = "cpu",
) -> Predictions:
    """Predicted classes without noise and with it, on every image that counts in some region.

    The noise of an image depends on (seed, image id) only, so batch size, workers and order change nothing.
    Raises SalientError if no image counts, or the model's output has another number of classes.
    """
    counted = np.unique(np.concatenate([region.rows for region in regions]))
    if not len(counted):
        raise SalientError(f"{store.path}: nothing to evaluate", expected="core or spurious features", got="none")
    joined = join(store, source, missing=missing, rows=counted.tolist())
    n = len(joined)
    clean = np.full(n, NOT_RUN, dtype=np.int64)
    noisy = {(region.name, sigma): np.full(n, NOT_RUN, dtype=np.int64) for region in regions for sigma in sigmas}
    loader: DataLoader[Any] = DataLoader(
        _Regions(joined, regions), batch_size=batch_size, num_workers=workers, collate_fn=list
    )
    with torch.inference_mode(), progress((), total=n, what="evaluate") as bar:
        for items in loader:
            images = torch.stack([item.image for item in items]).float().div_(255.0)
            clean[[item.position for item in items]] = _classes(model, images, store, device)
            for index, region in enumerate(regions):
                which = [k for k, item in enumerate(items) if item.masks[index] is not None]
                if not which:
                    continue
                positions = [items[k].position for k in which]
                for sigma in sigmas:
                    corrupted = torch.stack(
                        [
                            gaussian_noise(
                                images[k], items[k].masks[index], sigma, image_generator(seed, items[k].image_id)
                            )
                            for k in which
                        ]
                    )
                    noisy[region.name, sigma][positions] = _classes(model, corrupted, store, device)
            bar.update(len(items))
    rows = np.array(joined.rows, dtype=np.int64)
    labels = np.array([store.rows[row].label for row in joined.rows], dtype=np.int64)
    return Predictions(rows, labels, clean, noisy)


def score(predictions: Predictions, store: Store) -> dict[str, Any]:
    """Accuracies of the protocol, by sigma: averaged over classes with a 95 % interval, and per class.

    For each kind of noise the clean accuracy is that of the same images.
    """
    result: dict[str, Any] = {}
    for (region, sigma), predicted in predictions.noisy.items():
        ran = predicted != NOT_RUN
        if not ran.any():
            continue
        labels, clean = predictions.labels[ran], predictions.clean[ran]
        hits, clean_hits = predicted[ran] == labels, clean == labels
        entry: dict[str, Any] = {
            "accuracy": asdict(class_average(hits, labels)),
            "clean_accuracy": asdict(class_average(clean_hits, labels)),
        }
        if region in KINDS:
            name = ACCURACY_OF[region]
            entry["per_class"] = _per_class(hits, clean_hits, labels, store.class_names)
        else:
            name = f"noise_on_{region}"
            entry["per_feature"] = _per_feature(region, hits, clean_hits, labels, store)
        result.setdefault(f"{sigma:g}", {})[name] = entry
    return result


def evaluate(
    model: Model,
    store: Store,
    source: ImageSource,
    *,
    sigmas: Sequence[float] = (0.25,),
    single_features: bool = False,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    missing: Missing = "error",
    device: str = "cpu",
) -> dict[str, Any]:
    """Protocol "iclr2022" for one classifier. sigmas: noise levels on the [0, 1] scale.

    Returns a JSON-ready dict: protocol, seed, images, clean_accuracy over them, and by sigma core_accuracy and
    spurious_accuracy. Where no class has a spurious (or core) feature that entry is absent.
    """
    if not sigmas or min(sigmas) < 0:
        raise SalientError("noise levels", expected="one or more numbers >= 0", got=str(list(sigmas)))
    regions = iclr2022(store, single_features=single_features)
    predictions = predict(
        model,
        store,
        source,
        regions,
        sigmas,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        missing=missing,
        device=device,
    )
    clean: Estimate = class_average(predictions.clean == predictions.labels, predictions.labels)
    return {
        "protocol": "iclr2022",
        "seed": seed,
        "images": len(predictions.rows),
        "clean_accuracy": asdict(clean),
        "sigma": score(predictions, store),
    }


def _classes(model: Model, images: Tensor, store: Store, device: str) -> NDArray[np.int64]:
    logits = model(images.to(device))
    if logits.ndim != 2 or logits.shape[1] != len(store.class_names):
        raise SalientError(
            "model's output does not fit the store",
            expected=f"(batch, {len(store.class_names)}) logits",
            got=str(tuple(logits.shape)),
        )
    result: NDArray[np.int64] = logits.argmax(dim=1).cpu().numpy()
    return result


def _per_class(
    hits: NDArray[np.bool_], clean: NDArray[np.bool_], labels: NDArray[np.int64], names: tuple[str, ...]
) -> list[dict[str, Any]]:
    rows = []
    for label in np.unique(labels).tolist():
        mine = labels == label
        n = int(mine.sum())
        rows.append(
            {
                "class_index": label,
                "class_name": names[label],
                **asdict(wilson(int(hits[mine].sum()), n)),
                "clean_value": float(clean[mine].mean()),
            }
        )
    return rows


def _per_feature(
    region: str, hits: NDArray[np.bool_], clean: NDArray[np.bool_], labels: NDArray[np.int64], store: Store
) -> list[dict[str, Any]]:
    rank = int(region.removeprefix("rank_"))
    feature = {r["class_index"]: r for r in store.features if r["rank"] == rank}
    rows = _per_class(hits, clean, labels, store.class_names)
    return [
        {**row, **{key: feature[row["class_index"]][key] for key in ("feature_index", "rank", "kind", "cue")}}
        for row in rows
    ]

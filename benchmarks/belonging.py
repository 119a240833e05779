"""How many of the annotated features a network ranks near the top, by images a class: the right network and others.

    salient-imagenet demo --out demo
    python benchmarks/belonging.py demo/store --images demo/images --weights demo/{robust,standard}.safetensors

The store's own network is the right one; draws are repeated, and the least and largest share over them is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from salient_imagenet_data.builder.discovery.belonging import belonging
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.joining import join
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store

COUNTS, DRAWS, BATCH = (1, 2, 5, 20, 100), 20, 64


def features_of(model: object, crops: list[np.ndarray]) -> np.ndarray:
    """(N, F) pooled features."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), BATCH):
            x = torch.from_numpy(np.stack(crops[start : start + BATCH])).permute(0, 3, 1, 2).float() / 255.0
            parts.append(model.maps_and_features(x)[1].numpy())  # type: ignore[attr-defined]
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", nargs="+", required=True)
    given = parser.parse_args()
    store = Store(given.store)
    joined = join(store, open_source(given.images, store.manifest.split))
    labels = store.rows.labels[joined.rows]
    crops = [joined.crop(item) for item in range(len(joined))]
    pairs = np.full((len(store.class_names), store.manifest.features_per_class), -1, dtype=np.int64)
    for feature in store.features:
        pairs[feature.class_index, feature.slot] = feature.feature_index
    rng = np.random.default_rng(0)
    heads = ("images a class", "near", "least", "mean", "most", "chance", "refused")
    print(f"{'network':<34}", *(f"{head:>{max(len(head), 6)}}" for head in heads))
    for weights in given.weights:
        model, sha256 = load_model(weights)
        features, head = features_of(model, crops), model.weight.detach().numpy()
        own = " (the store's)" if sha256 == store.manifest.weights_sha256 else ""
        for count in COUNTS:
            found = []
            for _ in range(DRAWS):
                importance = np.full(head.shape, np.nan)
                for label in np.unique(labels).tolist():
                    mine = rng.permutation(np.flatnonzero(labels == label))[:count]
                    importance[label] = features[mine].mean(axis=0) * head[label]
                measured = belonging(importance, pairs)
                assert measured is not None
                found.append(measured)
            shares, refused = [f.share for f in found], sum(not f.likely for f in found)
            print(
                f"{Path(weights).name + own:<34} {count:>14} {found[0].near:>6}",
                f"{min(shares):6.2f} {np.mean(shares):6.2f}",
                f"{max(shares):6.2f} {found[0].chance:6.2f}  {refused} of {DRAWS}",
            )


if __name__ == "__main__":
    main()

"""What half precision, compiling and other decoders cost, on the same images and weights, against plain float32.

    python benchmarks/precision.py --images DIR --weights FILE [--architecture NAME] [--precision bf16]
        [--compile bf16] [--decoder pillow+torch]

Prints a table: mean and 99.9th percentile of the masks' difference in 1/255, over the pairs that both stores have, the
share of (class, feature) pairs in common, and of top images in common for those pairs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.choices import Decoder, Precision
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.units.forward import numerics, run_model
from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.networks.devices import default_batch_size, move
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.reading import Store


def compare(exact: Store, other: Store) -> dict[str, float]:
    """Errors of `other` against `exact`."""
    ours, theirs = ({(f.class_index, f.feature_index): f.slot for f in s.features} for s in (exact, other))
    common = sorted(set(ours) & set(theirs))
    labels = exact.rows.labels
    differences, shared, total = [], 0, 0
    for pair in common:
        rows = np.flatnonzero(labels == pair[0])
        a, b = exact.maps[rows, ours[pair]].astype(int), other.maps[rows, theirs[pair]].astype(int)
        differences.append(np.abs(a - b).reshape(-1))
        top = exact.rows.in_top[rows, ours[pair]]
        shared += int((top & other.rows.in_top[rows, theirs[pair]]).sum())
        total += int(top.sum())
    every = np.concatenate(differences)
    return {
        "mean": float(every.mean()),
        "p999": float(np.percentile(every, 99.9)),
        "pairs": len(common) / len(ours),
        "top images": shared / total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--architecture")
    parser.add_argument("--precision", nargs="+", default=["bf16"], choices=["tf32", "bf16", "fp16"])
    parser.add_argument("--decoder", nargs="*", default=[], choices=get_args(Decoder), help="with float32")
    parser.add_argument("--top-images", type=int, default=65, help="fewer than the images of a class, to say something")
    parser.add_argument(
        "--compile", nargs="*", choices=get_args(Precision), help="these too, or all; the time holds compiling"
    )
    parser.add_argument("--threads", type=int, default=2, help="that decode")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    source = open_source(options.images)
    stores: dict[str, tuple[Store, float]] = {}
    kinds: list[tuple[Precision, bool, Decoder]] = [(p, False, "pillow") for p in ("fp32", *options.precision)]
    if options.compile is not None:
        kinds += [(p, True, "pillow") for p in options.compile or ("fp32", *options.precision)]
    kinds += [("fp32", False, decoder) for decoder in options.decoder]
    with tempfile.TemporaryDirectory() as folder:
        for precision, compiled, decoder in kinds:
            name = f"{precision} compiled" if compiled else precision
            name += f" {decoder}" if decoder != "pillow" else ""
            model, sha256 = load_model(options.weights, architecture=options.architecture)
            size = default_batch_size(options.device, model.preprocessing.crop)
            config = BuildConfig(
                precision=precision,
                compiled=compiled,
                decoder=decoder,
                batch_size=size,
                top_images=options.top_images,
                attacked=0,
            )
            side = model.preprocessing.crop
            move(model, options.device)
            with numerics(precision, options.device):  # the first pass on a device is slower
                run_model(
                    model,
                    torch.zeros(size, 3, side, side, dtype=torch.uint8),
                    precision,
                    options.device,
                )
            start = time.perf_counter()
            store = build(
                source,
                model,
                Path(folder) / name,
                weights_sha256=sha256,
                config=config,
                run=RunConfig(options.threads, options.device),
            )
            stores[name] = store, time.perf_counter() - start
            exact, seconds = stores["fp32"]
            if len(stores) == 1:
                print(
                    "| precision | error, mean /255 | 99.9th percentile /255 | pairs kept | top images kept | speed |"
                )
                print("| --- | --- | --- | --- | --- | --- |")
                continue
            c = compare(exact, store)
            print(
                f"| {name} | {c['mean']:.3f} | {c['p999']:.0f} | {c['pairs']:.1%} | {c['top images']:.1%} "
                f"| {seconds / stores[name][1]:.2f} x fp32 |",
                flush=True,
            )


if __name__ == "__main__":
    main()

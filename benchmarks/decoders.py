"""Decoders against Pillow, on the same JPEG files in the same run: speed, and how near the reference's crops.

    python benchmarks/decoders.py [--images 200] [--rounds 7] [--threads 2] [--decoder pillow+torch simplejpeg]

Makes JPEGs of ImageNet's size (500 x 375, about 85 kB). Each round runs every decoder once, one after the other, from
files to batches of crops (decode, resize, crop), so that other work on the machine hits all alike. Prints images a
second as medians over the rounds; the ratio to Pillow as the median of the rounds' ratios, with the smallest and the
largest, which is the noise; and the crops' difference from Pillow's: share of values that differ, and the most, in
levels of 255.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from synthetic import write_photos

from salient_imagenet_data.builder.choices import Decoder
from salient_imagenet_data.builder.units.batching import batches
from salient_imagenet_data.builder.units.decoding import Batch, check_decoder
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource

CLASSES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decoder", nargs="+", default=["pillow+torch", "simplejpeg"], choices=get_args(Decoder))
    options = parser.parse_args()
    torch.set_num_threads(1)
    preprocessing = Preprocessing()
    decoders: tuple[Decoder, ...] = ("pillow", *options.decoder)
    for decoder in decoders:
        check_decoder(decoder, options.device, preprocessing)
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", CLASSES, options.images // CLASSES)
        source = FolderSource(Path(folder) / "photos")

        def decode(decoder: Decoder) -> list[Batch]:
            device, threads, indices = options.device, options.threads, range(len(source))
            stream = batches(
                source, indices, preprocessing, options.batch_size, [], decoder, device=device, threads=threads
            )
            return list(stream)

        crops = {decoder: np.concatenate([b.images.cpu().numpy() for b in decode(decoder)]) for decoder in decoders}
        seconds: dict[Decoder, list[float]] = {decoder: [] for decoder in decoders}
        for _, decoder in itertools.product(range(options.rounds), decoders):
            start = time.perf_counter()
            decode(decoder)
            if torch.device(options.device).type == "cuda":
                torch.cuda.synchronize(options.device)
            seconds[decoder].append(time.perf_counter() - start)
    print(f"{len(source)} JPEGs, {options.threads} threads, {options.device}, torch {torch.__version__}")
    print("| decoder | images/s | x Pillow (smallest to largest of the rounds) | values that differ | most |")
    print("| --- | --- | --- | --- | --- |")
    for decoder in decoders:
        ratios = np.array(seconds["pillow"]) / np.array(seconds[decoder])
        off: NDArray[np.int16] = np.abs(crops[decoder].astype(np.int16) - crops["pillow"])
        print(
            f"| {decoder} | {len(source) / np.median(seconds[decoder]):.0f} | {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f}) | {(off > 0).mean():.2%} | {off.max()} |"
        )


if __name__ == "__main__":
    main()

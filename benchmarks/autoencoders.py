"""How many latents are positive where an autoencoder is read as rectified: of rectified ones and of top-k ones.

    python benchmarks/autoencoders.py --images imagenette --weights lite0.safetensors \\
        --architecture timm:tf_efficientnet_lite0

Autoencoders of a network's pooled neurons are trained on some images and looked at on 200 others. A rectified one has a
penalty on the sum of its latents, and a top-k one counts its k largest; read as rectified, all that are positive count.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from salient_imagenet_data.images.opening import open_source
from salient_imagenet_data.images.source import picture_of
from salient_imagenet_data.networks.pixels import unit_images
from salient_imagenet_data.networks.robust import load_model

LATENTS, EPOCHS, BATCH, OTHERS = 2048, 60, 200, 200


def pooled(source: object, model: object, count: int) -> Tensor:
    """(n, F) of images drawn from the source."""
    rows = np.random.default_rng(0).permutation(len(source))[:count].tolist()  # type: ignore[arg-type]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), 32):
            crops = [model.preprocessing.apply_to_picture(picture_of(source, i)) for i in rows[start : start + 32]]  # type: ignore[attr-defined, arg-type]
            x = unit_images(torch.from_numpy(np.stack(crops)), torch.channels_last)
            parts.append(model.maps_and_features(x)[1].clone())  # type: ignore[attr-defined]
    return torch.cat(parts).clone()


def trained(seen: Tensor, others: Tensor, penalty: float, k: int | None) -> tuple[float, float, float]:
    """Shares of latents that are positive, and that count, on an image, and of the variance that is not explained."""
    torch.manual_seed(0)
    mean, spread = seen.mean(dim=0), (seen - seen.mean(dim=0)).pow(2).sum(dim=1).mean()
    decoder = torch.nn.functional.normalize(torch.randn(LATENTS, seen.shape[1]), dim=1)
    parts = [decoder.T.contiguous(), torch.zeros(LATENTS), decoder, mean.clone()]
    encoder, bias, decoder, centre = (part.requires_grad_() for part in parts)
    optimiser = torch.optim.Adam([encoder, bias, decoder, centre], lr=1e-3)

    def latents(x: Tensor) -> tuple[Tensor, Tensor]:
        before = (x - centre) @ encoder + bias
        if k is None:
            return before, before.relu()
        values, places = before.topk(k, dim=1)
        return before, torch.zeros_like(before).scatter(1, places, values.relu())

    for _ in range(EPOCHS):
        for rows in torch.randperm(len(seen)).split(BATCH):
            _, counted = latents(seen[rows])
            loss = (counted @ decoder + centre - seen[rows]).pow(2).sum(dim=1).mean() / spread
            loss = loss + penalty * (counted * decoder.norm(dim=1)).sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        before, counted = latents(others)
        left = (counted @ decoder + centre - others).pow(2).sum() / (others - mean).pow(2).sum()
        return float((before > 0).float().mean()), float((counted > 0).float().mean()), float(left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--architecture")
    parser.add_argument("--count", type=int, default=1400)
    options = parser.parse_args()
    model, _ = load_model(options.weights, architecture=options.architecture)
    found = pooled(open_source(options.images, "train"), model, options.count)
    print(f"{len(found)} images, {found.shape[1]} neurons, {LATENTS} latents")
    print("autoencoder           positive  counted  variance left")
    for penalty, k in ((0.003, None), (0.01, None), (0.03, None), (0.0, 16), (0.0, 32)):
        name = f"rectified, {penalty:g}" if k is None else f"top {k}"
        shares = trained(found[:-OTHERS], found[-OTHERS:], penalty, k)
        print(f"{name:<20} {shares[0]:>9.3f} {shares[1]:>8.3f} {shares[2]:>14.3f}", flush=True)


if __name__ == "__main__":
    main()

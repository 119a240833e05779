"""The whole method in float64 and plain loops, on a ResNet-50 at 224 and images of real size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model


def photographs(root: Path) -> None:
    """JPEGs of ImageNet's sizes with smooth content and noise, in four classes."""
    rng = np.random.default_rng(0)
    for number in range(8):
        width, height = [(500, 375), (375, 500), (640, 427), (300, 300)][number % 4]
        coarse = rng.integers(0, 256, size=(12, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
        pixels = np.clip(smooth + rng.normal(0, 20, size=smooth.shape), 0, 255).astype(np.uint8)
        folder = root / f"class{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.JPEG", quality=90)


def test_ranking_is_exact_and_masks_agree_to_one_step(tmp_path: Path) -> None:
    photographs(tmp_path / "images")
    torch.manual_seed(0)
    net = torchvision.models.resnet50(num_classes=4).eval()
    # The robustness library's file of the study says nothing about its architecture; its name does.
    torch.save(
        {"model": {f"module.model.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "imagenet_l2_3_0.pt"
    )
    model, sha256 = load_model(tmp_path / "imagenet_l2_3_0.pt")
    config = BuildConfig(
        group_by="label", top_images=1, batch_size=3, attacked=0
    )  # no attack: it takes no part in the masks
    store = build(FolderSource(tmp_path / "images"), model, tmp_path / "store", weights_sha256=sha256, config=config)

    double = net.double()
    body = torch.nn.Sequential(*list(double.children())[:-2])
    weight = double.fc.weight.detach().numpy()
    maps, labels = [], []
    for path in sorted((tmp_path / "images").rglob("*.JPEG")):
        image = Image.open(path).convert("RGB")
        scale = 256 / min(image.size)
        size = [256 if side == min(image.size) else int(side * scale) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
        left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
        x = np.asarray(image.crop((left, top, left + 224, top + 224))).astype(np.float64) / 255
        x = (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        with torch.inference_mode():
            maps.append(body(torch.from_numpy(x).permute(2, 0, 1)[None])[0].numpy())
        labels.append(int(path.parent.name[-1]))

    for c in range(4):
        mine = [i for i in range(8) if labels[i] == c]
        importance = [sum(maps[i][j].mean() * weight[c, j] for i in mine) / len(mine) for j in range(2048)]
        ranked = sorted(range(2048), key=lambda j: (-importance[j], j))[:5]
        assert [f.feature_index for f in store.features if f.class_index == c] == ranked
        for slot, j in enumerate(ranked):
            best = max(mine, key=lambda i: (maps[i][j].mean(), -i))
            assert [i for i in mine if store.rows[i].in_top[slot]] == [best]
            for i in mine:
                expected = maps[i][j] / maps[i][j].max()
                assert np.abs(store.maps[i, slot] / 255 - expected).max() <= 1 / 255

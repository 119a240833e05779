from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.images.memory import MemorySource
from salient_imagenet_data.loaders import NumpyLoader, SalientImageNet, SoftMask
from salient_imagenet_data.store.reading import Store


def test_samples_agree_with_the_numpy_loader_and_a_float64_reference(store: Store, images: Path) -> None:
    torch_set, batches = SalientImageNet(store, images), NumpyLoader(store, images, batch_size=7)
    joined = {key: np.concatenate([b[key] for b in batches]) for key in next(iter(batches))}
    assert len(torch_set) == 40 and len(batches) == 6
    for item in range(40):
        sample = torch_set[item]
        assert sample["image_id"] == joined["image_id"][item] and sample["label"] == joined["label"][item]
        assert isinstance(sample["image"], tv_tensors.Image) and sample["image"].dtype == torch.uint8
        assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), joined["image"][item])
        for kind in ("core", "spurious"):
            mask = sample[f"{kind}_mask"]
            assert isinstance(mask, SoftMask) and mask.shape == (1, 56, 56) and mask.dtype == torch.float32
            assert sample[f"has_{kind}"] == joined[f"has_{kind}"][item]
            assert np.array_equal(mask[0].numpy(), joined[f"{kind}_mask"][item])
            chosen = store.chosen(item, kind)
            if not chosen.any():
                assert mask.sum() == 0 and not sample[f"has_{kind}"]
                continue
            grids = torch.from_numpy(store.maps[item][chosen].astype(np.float64) / 255.0)[None]
            big = torch.nn.functional.interpolate(grids, (56, 56), mode="bilinear", align_corners=False)[0]
            assert (mask[0].double() - big.amax(dim=0)).abs().max() < 1e-5


def test_numpy_batches(store: Store, images: Path) -> None:
    loader = NumpyLoader(store, batch_size=16)
    batch = next(iter(loader))
    assert "image" not in batch and batch["core_mask"].shape == (16, 56, 56)
    assert [len(b["label"]) for b in loader] == [16, 16, 8]
    shuffled = [i for b in NumpyLoader(store, seed=1) for i in b["image_id"]]
    assert sorted(shuffled) == sorted(r.image_id for r in store.rows) and shuffled[0] != store.rows[0].image_id
    assert shuffled == [i for b in NumpyLoader(store, seed=1, batch_size=9) for i in b["image_id"]]


def test_numpy_loader_imports_no_torch(store: Store) -> None:
    code = f"""
import sys
from salient_imagenet_data.loaders import NumpyLoader
next(iter(NumpyLoader({str(store.path)!r})))
assert not any(name.split('.')[0].startswith('torch') for name in sys.modules), 'torch was imported'
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pickles(store: Store, images: Path) -> None:
    again = pickle.loads(pickle.dumps(SalientImageNet(store, images)))
    assert torch.equal(again[5]["core_mask"], SalientImageNet(store, images)[5]["core_mask"])


def test_rows_and_top_only(store: Store, images: Path) -> None:
    rows = [i for i, r in enumerate(store.rows) if r.label == 2]
    chosen = SalientImageNet(store, images, rows=rows, top_only=True)
    for item, row in enumerate(rows):
        expected = store.mask(row, "spurious", top_only=True)
        assert chosen[item]["has_spurious"] == (expected is not None)


def test_rows_that_are_none_are_refused(store: Store, images: Path) -> None:
    """A mask of rows, taken for numbers, would give the first two rows over and over."""
    for rows, words in (
        (np.arange(40) < 3, r"from 0 to 39; got bool \(40,\); np.flatnonzero\(mask\) makes numbers of a mask"),
        ([3, -1], "got -1 to 3"),
        ([40], "got 40 to 40"),
        ([0.5], "got float64"),
        ({1, 2}, "got object"),
        ([[1], [2]], r"got int64 \(2, 1\)"),
    ):
        with pytest.raises(SalientError, match=words):
            SalientImageNet(store, images, rows=rows)  # type: ignore[arg-type]
    assert len(SalientImageNet(store, images, rows=[])) == 0
    assert SalientImageNet(store, images, rows=torch.tensor([7]))[0]["image_id"] == store.rows[7].image_id
    for loader in (SalientImageNet, NumpyLoader):
        with pytest.raises(SalientError, match="missing; expected error or skip; got 'ignore'"):
            loader(store, images, missing="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a batch_size of at least 1, got 0"):
        NumpyLoader(store, batch_size=0)


def test_images_that_are_left_out_are_told(
    store: Store, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = Path(shutil.copytree(images, tmp_path / "few"))
    gone = store.rows[3].image_id
    next(few.glob(f"{gone}.*")).unlink()
    for loader in (SalientImageNet, NumpyLoader):
        loader(store, few, missing="skip")
        assert capsys.readouterr().err == f"39 of 40 rows joined to images; 1 missing: {gone}\n"
        loader(store, images, missing="skip")
        assert capsys.readouterr().err == ""


def test_relative_paths_mean_where_they_were_given(
    store: Store, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook may change its folder, and workers of another machine have one of their own."""
    monkeypatch.chdir(store.path.parent)
    dataset = SalientImageNet(store.path.name, os.path.relpath(images))
    assert str(dataset.store.path) == store.path.name
    monkeypatch.chdir(tmp_path)
    for again in (pickle.loads(pickle.dumps(dataset)), dataset):
        assert torch.equal(again[5]["image"], SalientImageNet(store, images)[5]["image"])
        assert torch.equal(again[5]["core_mask"], SalientImageNet(store, images)[5]["core_mask"])
        again.store.verify()


def test_another_image_under_the_same_id_is_noticed(store: Store, images: Path) -> None:
    source = FolderSource(images)
    ids = [source.entry(i).image_id for i in range(40)]
    wrong = MemorySource(
        [np.zeros((9, 9, 3), np.uint8)] * 40, [source.entry(i).label for i in range(40)], source.class_names, ids
    )
    with pytest.raises(
        SalientError, match="not the image that the masks were made of; expected 64 x 64 pixels; got 9 x 9"
    ):
        SalientImageNet(store, wrong)[0]


def test_a_whole_pipeline_on_the_dataset(store: Store, images: Path) -> None:
    pipeline = v2.Compose(
        [v2.RandomResizedCrop(32, antialias=True), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    )
    sample = SalientImageNet(store, images, pipeline)[4]
    assert sample["image"].shape == (3, 32, 32) and sample["spurious_mask"].shape == (1, 32, 32)
    assert isinstance(sample["image_id"], str)

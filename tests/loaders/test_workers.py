"""Batches as training loops get them: workers of every kind, ranks, types, pinning."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from salient_imagenet_data.loaders import (
    Batch,
    FiveCrop,
    MapFrame,
    MaskedCorruption,
    SalientImageNet,
    SalientImageNetStream,
    Shuffle,
    SoftMask,
    collate,
)
from salient_imagenet_data.store.reading import Store
from tests.warm import Warm

KINDS = (SoftMask, MapFrame)
CORRUPT = MaskedCorruption(Shuffle(), "core", seed=5)


def loader(dataset: Any, method: str = "fork", workers: int = 2, **options: Any) -> DataLoader[Any]:
    context = multiprocessing.get_context(method) if workers else None
    options = {"batch_size": 8, "collate_fn": collate, **options}
    return DataLoader(dataset, num_workers=workers, multiprocessing_context=context, **options)


def ids(batches: Any) -> list[str]:
    return [image_id for batch in batches for image_id in batch["image_id"]]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind_give_what_the_main_process_gives(store: Store, images: Path, method: str) -> None:
    if method == "forkserver":  # else each worker imports torch anew, as a spawned one must
        multiprocessing.set_forkserver_preload(["salient_imagenet_data.loaders.torch_dataset"])
    dataset = SalientImageNet(store, images, CORRUPT)
    batches, plain = list(loader(dataset, method)), list(loader(dataset, workers=0))
    assert ids(batches) == ids(plain) == [r.image_id for r in store.rows]
    for batch, expected in zip(batches, plain, strict=True):
        assert type(batch) is Batch and type(batch["image"]) is tv_tensors.Image
        assert type(batch["core_mask"]) is SoftMask and batch["core_mask"].shape == (8, 1, 56, 56)
        for key in ("image", "core_mask", "spurious_mask", "label", "has_core"):
            assert torch.equal(batch[key], expected[key]), key


def test_collate_keeps_types_and_names_what_does_not_fit(store: Store, images: Path) -> None:
    samples = [SalientImageNet(store, images)[i] for i in range(3)]
    batch = collate(samples)
    assert batch["label"].dtype == torch.int64 and batch["has_core"].dtype == torch.bool
    assert batch["image_id"] == [s["image_id"] for s in samples]
    assert torch.equal(batch["core_mask"][1].as_subclass(Tensor), samples[1]["core_mask"].as_subclass(Tensor))
    small = collate([SalientImageNet(store, images, return_maps=True)[0]])
    assert type(small["map_frame"]) is MapFrame and small["core_features"].dtype == torch.bool
    with pytest.raises(ValueError, match=r"one shape of 'image', got \[\(3, 9, 9\), \(3, 56, 56\)\]"):
        collate([samples[0], v2.Resize((9, 9))(samples[1])])
    for wrong, got in (([(1, 2)], "tuple"), ([], "none")):
        with pytest.raises(ValueError, match=f"expected samples that are dicts, got {got}; torch's default_collate"):
            collate(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected the keys"):
        collate([samples[0], {"image": samples[1]["image"]}])


def test_crops_of_a_batch_are_stacked_one_by_one(store: Store, images: Path) -> None:
    samples = [SalientImageNet(store, images, FiveCrop(40))[i] for i in range(3)]
    batch = collate(samples).to("cpu")
    assert len(batch["image"]) == len(batch["core_mask"]) == 5
    for place in range(5):
        assert type(batch["core_mask"][place]) is SoftMask and type(batch["image"][place]) is tv_tensors.Image
        for key in ("image", "core_mask"):
            expected = torch.stack([sample[key][place].as_subclass(Tensor) for sample in samples])
            assert torch.equal(batch[key][place].as_subclass(Tensor), expected)
    half = v2.RandomHorizontalFlip(1.0)(batch)
    assert torch.equal(half["core_mask"][4], batch["core_mask"][4].flip(-1))


def test_a_batch_moves_whole() -> None:
    batch = Batch(
        image=tv_tensors.Image(torch.zeros(2, 3, 4, 4)),
        core_mask=SoftMask(torch.zeros(2, 1, 4, 4)),
        image_id=["a", "b"],
    )
    moved = batch.to("meta")
    assert type(moved) is Batch and moved["image"].is_meta and type(moved["image"]) is tv_tensors.Image
    assert type(moved["core_mask"]) is SoftMask and moved["image_id"] == ["a", "b"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a GPU's driver")
def test_pinned_batches_keep_types(store: Store, images: Path) -> None:
    for batch in loader(SalientImageNet(store, images), pin_memory=True):
        assert batch["image"].is_pinned() and type(batch["core_mask"]) is SoftMask


def test_pinning_goes_through_the_batch(monkeypatch: pytest.MonkeyPatch, store: Store, images: Path) -> None:
    """torch pins what has a `pin_memory` by it; without a GPU the tensors' own part is taken as done."""
    from torch.utils.data._utils.pin_memory import pin_memory

    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *device: self.clone())
    batch = pin_memory(collate([SalientImageNet(store, images)[0]]))
    assert type(batch) is Batch and type(batch["core_mask"]) is SoftMask and type(batch["image"]) is tv_tensors.Image


@pytest.mark.parametrize("collated", [collate, default_collate], ids=["collate", "default_collate"])
@pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])
def test_transforms_move_the_masks_of_a_batch_with_its_images(
    monkeypatch: pytest.MonkeyPatch, store: Store, images: Path, collated: Any, compact: bool
) -> None:
    """Of a type that torchvision does not take apart they would do nothing, of plain masks move the images alone."""
    from torch.utils.data._utils.pin_memory import pin_memory

    monkeypatch.setattr(Tensor, "pin_memory", lambda self, *device: self.clone())
    flip = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.Resize((40, 32), antialias=False), v2.CenterCrop(30)])
    samples = [SalientImageNet(store, images, return_maps=compact)[i] for i in range(3)]
    batch, each = pin_memory(collated(samples)), [flip(sample) for sample in samples]
    done = flip(batch)
    assert type(done) is type(batch) and done["image_id"] == [s["image_id"] for s in samples]
    for key in ("image", "map_frame") if compact else ("image", "core_mask", "spurious_mask"):
        expected = torch.stack([sample[key].as_subclass(Tensor) for sample in each])
        assert torch.equal(done[key].as_subclass(Tensor), expected), key
    assert done["image"].shape == (3, 3, 30, 30) and type(done["map_frame" if compact else "core_mask"]) in KINDS
    for mix in (v2.CutMix(num_classes=10), v2.MixUp(num_classes=10)):
        with pytest.raises(ValueError, match="does not support"):
            mix(batch)


def test_distributed_sampler_shares_out_the_map_style_set(store: Store, images: Path) -> None:
    dataset = SalientImageNet(store, images)
    parts = [
        ids(loader(dataset, workers=0, sampler=DistributedSampler(dataset, 3, rank, shuffle=True, seed=1)))
        for rank in range(3)
    ]
    assert {len(part) for part in parts} == {14} and set().union(*map(set, parts)) == {r.image_id for r in store.rows}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_stream_gives_each_sample_once_over_ranks_and_workers(
    store: Store, images: Path, workers: int, shuffle: bool
) -> None:
    dataset = SalientImageNet(store, images)
    streams = [SalientImageNetStream(dataset, shuffle=shuffle, rank=r, world_size=3) for r in range(3)]
    parts = [ids(loader(stream, workers=workers, batch_size=5)) for stream in streams]
    assert [len(part) for part in parts] == [len(stream) for stream in streams] == [14, 13, 13]
    assert sorted(i for part in parts for i in part) == sorted(r.image_id for r in store.rows)
    even = [SalientImageNetStream(dataset, rank=r, world_size=3, even=True) for r in range(3)]
    assert [len(list(stream)) for stream in even] == [13, 13, 13]


def test_a_stream_has_an_order_by_seed_and_epoch_also_in_workers_that_stay(store: Store, images: Path) -> None:
    dataset = SalientImageNet(store, images)

    def order(stream: SalientImageNetStream, epoch: int) -> list[str]:
        stream.set_epoch(epoch)
        return [sample["image_id"] for sample in stream]

    stream = SalientImageNetStream(dataset, shuffle=True, seed=2)
    first, second = order(stream, 0), order(stream, 1)
    assert sorted(first) == sorted(second) and first != second and order(stream, 0) == first
    assert order(SalientImageNetStream(dataset, shuffle=True, seed=3), 0) != first
    staying = loader(stream, workers=1, persistent_workers=True)
    for epoch, expected in ((0, first), (1, second)):
        stream.set_epoch(epoch)
        assert ids(staying) == expected
    with pytest.raises(ValueError, match="expected 0 <= rank < 2, got 2"):
        SalientImageNetStream(dataset, rank=2, world_size=2)


RANK = """
import sys, torch.distributed
from salient_imagenet_data.loaders import SalientImageNet, SalientImageNetStream
torch.distributed.init_process_group("gloo")
print(*(sample["image_id"] for sample in SalientImageNetStream(SalientImageNet(*sys.argv[1:]))))
torch.distributed.destroy_process_group()
"""


def test_a_stream_takes_its_rank_from_torch_distributed(store: Store, images: Path, warm: Warm) -> None:
    ended = warm.ranks(2, "-c", RANK, store.path, images, env=os.environ)
    assert [done.returncode for done in ended] == [0, 0], ended
    expected = [r.image_id for r in store.rows]
    assert [done.stdout.split() for done in ended] == [expected[::2], expected[1::2]] and len(set(expected)) == 40

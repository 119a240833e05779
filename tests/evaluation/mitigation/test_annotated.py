"""Which images carry a mask: by plain loops, and the boxes that people drew by pixels."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.localisation.truth import Box, Truth, read_truth
from salient_imagenet_data.evaluation.mitigation.annotated import annotated, share_of
from salient_imagenet_data.evaluation.plan.regions import FOREGROUND
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.store.reading import Store


def loops(ids: list[str], labels: list[int], have: list[bool], fraction: float, seed: int) -> set[str]:
    """The definition, class by class."""
    chosen = set()
    for label in set(labels):
        mine = [i for i, own, has in zip(ids, labels, have, strict=True) if own == label and has]
        mine.sort(key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest()[:8])
        wanted = max(1, int(fraction * len(mine) + 0.5))
        chosen |= set(mine[:wanted])
    return chosen


@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.99, 1.0]))
def test_the_share_by_plain_loops_whatever_the_order(seed: int, n: int, fraction: float) -> None:
    rng = np.random.default_rng(seed)
    ids, labels, have = [f"a/{k}" for k in range(n)], rng.integers(0, 3, n), rng.random(n) < 0.8
    wanted = loops(ids, labels.tolist(), have.tolist(), fraction, seed)
    for order in (np.arange(n), rng.permutation(n)):
        found = share_of([ids[k] for k in order], labels[order], have[order], fraction, seed)
        assert {ids[k] for k in order[found]} == wanted


def test_a_smaller_share_lies_in_a_larger_and_another_seed_draws_others() -> None:
    ids, labels = [str(k) for k in range(2000)], np.arange(2000) % 10
    have = np.ones(2000, dtype=bool)
    tenth, half, other = (share_of(ids, labels, have, f, s) for f, s in ((0.1, 0), (0.5, 0), (0.1, 1)))
    assert Counter(labels[tenth].tolist()) == dict.fromkeys(range(10), 20) and half.sum() == 1000
    assert not (tenth & ~half).any() and (tenth & other).sum() < 60
    one = share_of(ids, labels, have, 0.0001, 0)
    assert Counter(labels[one].tolist()) == dict.fromkeys(range(10), 1)
    for bad in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(SalientError, match="annotated fraction; expected a number above 0 and at most 1"):
            share_of(ids, labels, have, bad, 0)


def test_only_the_share_has_its_core_mask(store: Store, images: Path) -> None:
    joined = join(store, FolderSource(images))
    everything, told = annotated(joined, store.manifest.preprocessing, 1.0, 0)
    assert (told.masks, told.images, told.with_mask, told.used) == ("core", 40, 36, 36)
    some, told = annotated(joined, store.manifest.preprocessing, 0.25, 0)
    assert (told.with_mask, told.used) == (36, 9)
    assert told.words == "guided by the core masks of 9 images, of 36 that have one and 40 in all"
    with_mask = [k for k in range(40) if some[k].masks]
    assert len(with_mask) == 9 and len({store.rows[some[k].row].label for k in with_mask}) == 9
    for k in with_mask:
        assert torch.equal(some[k].masks[FOREGROUND], everything[k].masks[FOREGROUND])
    for k in range(40):
        assert torch.equal(some[k].image, everything[k].image)


def test_boxes_are_where_people_drew_them_in_the_models_crop(store: Store, images: Path, tmp_path: Path) -> None:
    joined = join(store, FolderSource(images))
    ids = [store.rows[int(row)].image_id for row in joined.rows]
    names = [store.class_names[store.rows[int(row)].label] for row in joined.rows]
    rows = [
        f"{ids[0]},16,24,40,48,{names[0]}",
        f"{ids[0]},40,24,48,48,",
        f"{ids[1]},0,0,64,64,another class",
        f"{ids[2]},0,0,2,64,{names[2]}",  # the central 56 of 64 pixels begin at 4
        f"{ids[3]},10,10,20,20,{names[3]}",
        "elsewhere/x,1,1,9,9,",
    ]
    (tmp_path / "b.csv").write_text("\n".join(["image,left,top,right,bottom,class", *rows]) + "\n")
    truth = read_truth(tmp_path / "b.csv")
    items, told = annotated(joined, Preprocessing(64, 56), 1.0, 0, truth)
    assert (told.masks, told.images, told.with_mask, told.used, told.elsewhere) == ("boxes", 40, 2, 2, 1)
    assert told.words == (
        "guided by the people's boxes of 2 images, of 2 that have one and 40 in all; "
        "1 images with boxes are not among them"
    )
    wanted = torch.zeros(56, 56)
    wanted[20:44, 12:44] = 1.0  # 24..48 down and 16..48 across, less 4
    assert torch.equal(items[0].masks[FOREGROUND], wanted) and items[0].known.all()
    assert [k for k in range(40) if items[k].masks] == [0, 3]
    half, _ = annotated(joined, Preprocessing(32, 32), 1.0, 0, truth)
    assert half[0].masks[FOREGROUND].shape == (32, 32) and half[0].masks[FOREGROUND].sum() == 12 * 16
    with pytest.raises(
        SalientError, match=r"no image has a mask to guide by; expected ids such as .*; got 1 images with boxes, 0 of"
    ):
        annotated(joined, Preprocessing(64, 56), 1.0, 0, Truth({"elsewhere/x": truth.boxes["elsewhere/x"]}, False, {}))


def test_where_there_are_no_masks_to_guide_by(store: Store, bare_store: Store, images: Path) -> None:
    without = join(store, FolderSource(images), rows=np.flatnonzero(store.rows.labels == 1).tolist())
    with pytest.raises(SalientError, match="no image has a mask to guide by; expected images with a core feature"):
        annotated(without, store.manifest.preprocessing, 1.0, 0)
    bare = join(bare_store, FolderSource(images))
    with pytest.raises(SalientError, match="not annotated, so no feature is core or spurious yet"):
        annotated(bare, bare_store.manifest.preprocessing, 1.0, 0)
    truth = Truth({bare_store.rows[3].image_id: (Box(0, 0, 1, 1),)}, True, {})
    _, told = annotated(bare, bare_store.manifest.preprocessing, 1.0, 0, truth)  # boxes need no answers
    assert (told.with_mask, told.used) == (1, 1)

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salient_imagenet_data.loaders import Region, partners, region_masks

SEEDS = [11, 12]


def masks(height: int = 8, width: int = 10, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    core, spurious = torch.rand(2, 2, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return core, spurious


def plus(mask: np.ndarray, times: int) -> np.ndarray:
    """Largest value within a city-block distance: what a plus-shaped filter does when repeated."""
    height, width = mask.shape
    out = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            ys, xs = np.mgrid[:height, :width]
            out[y, x] = mask[np.abs(ys - y) + np.abs(xs - x) <= times].max()
    return out


def test_named_regions_against_numpy() -> None:
    core, spurious = masks()
    c, s = core.numpy(), spurious.numpy()
    expected = {"core": c, "spurious": s, "not_core": 1 - c, "neither": 1 - np.maximum(c, s)}
    for name, value in expected.items():
        got = region_masks(core, spurious, Region(name))  # type: ignore[arg-type]
        assert got.dtype == torch.float32 and np.array_equal(got.numpy(), value)


@given(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_dilation_against_city_block_maxima(times: int, height: int, width: int, seed: int) -> None:
    core, spurious = masks(height, width, seed)
    got = region_masks(core, spurious, Region("core", dilation=times))
    assert np.array_equal(got[0, 0].numpy(), plus(core[0, 0].numpy(), times))


def test_steps_come_in_their_order() -> None:
    core, spurious = masks()
    core *= 0.8
    dilated = np.stack([plus(m[0].numpy(), 1) for m in core])[:, None]
    region = Region("not_core", dilation=1, normalise=True)  # the protocol "corm2022"
    expected = 1 - dilated / dilated.max(axis=(2, 3), keepdims=True)
    assert np.allclose(region_masks(core, spurious, region).numpy(), expected)
    binary = np.stack([plus((m[0].numpy() >= 0.5).astype(np.float32), 2) for m in core])[:, None]
    assert np.array_equal(region_masks(core, spurious, Region("core", threshold=0.5, dilation=2)).numpy(), binary)


def test_trap_a_box_holds_its_last_row_and_column() -> None:
    core, spurious = torch.zeros(2, 1, 6, 7), torch.zeros(2, 1, 6, 7)
    core[0, 0, 2, 3], core[0, 0, 4, 6], core[0, 0, 0, 0] = 0.6, 1.0, 0.4
    box = region_masks(core, spurious, Region("core", box=True))
    expected = torch.zeros(6, 7)
    expected[2:5, 3:7] = 1.0
    assert torch.equal(box[0, 0], expected) and not box[1].any()


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000), st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_random_region_has_the_same_values_elsewhere(height: int, width: int, seed: int, binary: bool) -> None:
    core, spurious = masks(height, width, seed)
    region = Region("core", "random", threshold=0.5 if binary else None)
    base = region_masks(core, spurious, Region("core", threshold=region.threshold))
    got = region_masks(core, spurious, region, SEEDS)
    assert torch.equal(got.flatten(1).sort().values, base.flatten(1).sort().values)
    assert torch.equal(got[:1], region_masks(core[:1], spurious[:1], region, SEEDS[:1]))


def test_random_regions_differ_by_seed_and_have_nothing_to_do_with_the_mask() -> None:
    core = torch.zeros(400, 1, 32, 32)
    core[:, :, 8:24, 8:24] = 1.0
    got = region_masks(core, core, Region("core", "random"), list(range(400)))
    assert len({m.numpy().tobytes() for m in got}) == 400
    assert (got.sum(dim=(1, 2, 3)) == 256).all()
    # A quarter of the picture is mask: so is a quarter of the mask itself, and of each quadrant's pixels, on average.
    assert float(got[:, :, 8:24, 8:24].mean()) == pytest.approx(0.25, abs=0.05)
    # Smooth: most neighbours agree.
    assert float((got[..., 1:] == got[..., :-1]).float().mean()) > 0.9


def test_another_images_mask() -> None:
    core, spurious = masks()
    others = (core.flip(0), spurious.flip(0))
    got = region_masks(core, spurious, Region("not_core", "other"), others=others)
    assert torch.equal(got, 1 - core.flip(0))


def test_counts_follow_what_is_known() -> None:
    core, spurious = np.array([True, True, False]), np.array([True, False, True])
    assert np.array_equal(Region("spurious").counts(core, spurious), spurious)
    for name in ("core", "not_core", "neither"):
        assert np.array_equal(Region(name).counts(core, spurious), core)  # type: ignore[arg-type]


def test_labels_tell_regions_apart() -> None:
    regions = [
        *(Region(n) for n in ("core", "spurious", "neither", "not_core")),  # type: ignore[arg-type]
        *(Region("core", c) for c in ("random", "other")),  # type: ignore[arg-type]
        Region("core", threshold=0.5),
        Region("core", threshold=0.25),
        Region("core", dilation=15),
        Region("core", dilation=15, normalise=True),
        Region("core", box=True),
        Region("core", "random", box=True),
    ]
    assert len({r.label for r in regions}) == len(regions)
    assert Region("not_core", "random", dilation=15).label == "not_core_dilated15_random"


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(0, 50), st.randoms())
@settings(deadline=None, max_examples=60)
def test_partners_are_others_whatever_the_order(labels: list[int], seed: int, random: object) -> None:
    ids = [f"i{k}" for k in range(len(labels))]
    plain = partners(ids, seed)
    assert all(plain != np.arange(len(ids))) and sorted(plain) == list(range(len(ids)))
    if len(set(labels)) > 1:
        found = partners(ids, seed, labels=labels)
        assert all(labels[j] != labels[i] for i, j in enumerate(found))
        order = list(range(len(ids)))
        random.shuffle(order)  # type: ignore[attr-defined]
        again = partners([ids[k] for k in order], seed, labels=[labels[k] for k in order])
        assert {ids[i]: ids[j] for i, j in enumerate(found)} == {
            ids[order[i]]: ids[order[j]] for i, j in enumerate(again)
        }


def test_partners_by_a_plain_search() -> None:
    ids, labels = [f"i{k}" for k in range(40)], [k % 3 for k in range(40)]
    ring = [0]
    nxt = partners(ids, 9)
    while len(ring) < 40:
        ring.append(int(nxt[ring[-1]]))
    for place, i in enumerate(ring):
        expected = next(j for j in (ring + ring)[place + 1 :] if labels[j] != labels[i])
        assert partners(ids, 9, labels=labels)[i] == expected
    assert not np.array_equal(nxt, partners(ids, 10)) and not np.array_equal(nxt, partners(ids, 9, condition="x"))


def test_what_does_not_fit_is_refused() -> None:
    core, spurious = masks()
    with pytest.raises(ValueError, match="expected 2 seeds"):
        region_masks(core, spurious, Region("core", "random"), [1])
    with pytest.raises(ValueError, match="expected others of shape"):
        region_masks(core, spurious, Region("core", "other"))
    with pytest.raises(ValueError, match=r"expected core and spurious masks \(B, 1, H, W\)"):
        region_masks(core, spurious[:1], Region("core"))
    for wrong in ({"name": "object"}, {"control": "shape"}, {"dilation": -1}, {"threshold": 0.0}):
        with pytest.raises(ValueError, match="Region: expected"):
            Region(**{"name": "core", **wrong})  # type: ignore[arg-type]
    for labels in (None, [3, 3]):
        with pytest.raises(ValueError, match="at least two images"):
            partners(["a"] if labels is None else ["a", "b"], 0, labels=labels)

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.scenes.render import BACKGROUNDS, SIZE, cue_kind


def test_same_seed_same_bytes() -> None:
    source = SceneSource(20, seed=7)
    digest = hashlib.sha256(b"".join(source.pixels(i).tobytes() for i in range(20))).hexdigest()
    assert digest == "1f4d11c64dcb692a18b4132c51bdb40e683c562c4bd1d1ad406af2f0bf6b024f"
    assert np.array_equal(SceneSource(500, seed=7).pixels(3), source.pixels(3))
    assert not np.array_equal(SceneSource(20, seed=8).pixels(3), source.pixels(3))
    assert np.array_equal(pickle.loads(pickle.dumps(source)).pixels(3), source.pixels(3))


def test_truth_is_exact_and_disjoint() -> None:
    source = SceneSource(200, seed=1)
    for index in range(200):
        scene = source.scene(index)
        assert scene.pixels.shape == (SIZE, SIZE, 3) and scene.pixels.dtype == np.uint8
        assert 30 < scene.core.sum() < 700 and not (scene.core & scene.spurious).any()
        assert scene.spurious.any() == (scene.cue is not None)
        if scene.cue in BACKGROUNDS:
            assert np.array_equal(scene.spurious, ~scene.core)


def test_cue_goes_with_the_class_as_often_as_asked() -> None:
    def share(correlation: float) -> float:
        source = SceneSource(2000, seed=2, correlation=correlation)
        cued = [i for i in range(2000) if CLASSES[i % len(CLASSES)].cue is not None]
        return sum(source.scene(i).cue == CLASSES[i % len(CLASSES)].cue for i in cued) / len(cued)

    assert share(1.0) == 1.0
    # 0.9 + 0.1 / 16 by chance, and 1 / 16 without correlation; 1600 draws, four standard errors.
    assert share(0.9) == pytest.approx(0.90625, abs=0.03)
    assert share(0.0) == pytest.approx(0.0625, abs=0.025)


def test_two_classes_without_cue_and_both_kinds_of_cue() -> None:
    assert sum(c.cue is None for c in CLASSES) == 2
    kinds = [cue_kind(c.cue) for c in CLASSES if c.cue is not None]
    assert kinds.count("background") == kinds.count("separate_object") == 4


def test_bad_arguments() -> None:
    with pytest.raises(SalientError, match=r"got 5, 1.5"):
        SceneSource(5, correlation=1.5)

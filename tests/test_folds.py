"""Parts of a data set by image id."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.folds import WHOLE, Fold, lowest_of_each

IDS = [f"n0144{i % 7}/{i:05d}" for i in range(3000)]


def test_folds_share_the_images_out() -> None:
    parts = [Fold(k, 3).holds(IDS) for k in (1, 2, 3)]
    assert (np.sum(parts, axis=0) == 1).all() and all(900 < part.sum() < 1100 for part in parts)
    assert WHOLE.holds(IDS).all() and len(Fold(1, 2).holds([])) == 0
    # The rule, spelled out: it must never change, or test images become training images.
    for fold, image_id in ((Fold(1, 2), "a"), (Fold(2, 5), "n01440764_10026")):
        number = int(hashlib.sha256(image_id.encode()).hexdigest()[:16], 16)
        assert fold.holds([image_id])[0] == (number % fold.of == fold.number - 1)
    assert Fold(1, 2).holds(["a", "b", "c", "d", "e", "f"]).tolist() == [True, True, True, False, True, True]


def test_an_image_stays_in_its_fold_whatever_is_beside_it() -> None:
    fold = Fold(2, 4)
    assert (fold.holds(IDS)[::7] == fold.holds(IDS[::7])).all()


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/1001", "1/99999999999"])
def test_bad_folds_are_one_line(text: str) -> None:
    with pytest.raises(SalientError, match="fold; expected N/M with 1 <= N <= M <= 1000, such as 1/2"):
        Fold.parse(text)
    assert str(Fold.parse("2/3")) == "2/3"


def test_the_lowest_of_each_class_in_their_order_with_and_without_a_salt() -> None:
    ids, labels = [f"n{i:03d}" for i in range(60)], np.arange(60) % 2 + 3
    for salt in ("", "7"):
        key = {i: hashlib.sha256((f"{salt} " if salt else "").encode() + ids[i].encode()).digest() for i in range(60)}
        expected = [
            i for c in (3, 4) for i in sorted((i for i in range(60) if labels[i] == c), key=key.__getitem__)[:8]
        ]
        assert lowest_of_each(ids, labels, 8, salt).tolist() == expected

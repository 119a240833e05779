"""Figures of certificates, on probabilities typed by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from salient_imagenet_data.evaluation.certificates.figures import OTHER, OWN, Certificates, Seen, lines, of_kind
from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.ranking.left_out import LeftOutFacts

WHOLE, LABELS = np.array([0.8, 0.5, 1.0, 0.4]), np.array([0, 0, 0, 7])
SEEN = {
    OWN: Seen(np.array([0.4, 0.6, 0.9, 0.1]), np.array([0.5, 0.1, 0.1, 0.37])),
    OTHER: Seen(np.array([0.2, 0.5, 0.1, 0.4]), np.array([0.73, 0.46, 0.91, 0.0])),
}


def test_figures_by_hand() -> None:
    found = of_kind(WHOLE, SEEN, np.array([0.1, 0.2, 0.3, 0.4]), LABELS, 2, 0.9)
    own, other = found.masks[OWN], found.masks[OTHER]
    assert own.completeness.value == pytest.approx(((0.5 + 1.0 + 0.9) / 3 + 0.25) / 2)  # never above 1
    assert own.certified.value == pytest.approx((2 / 3 + 0) / 2) and other.certified.value == pytest.approx(
        (1 / 3 + 1) / 2
    )
    # A wrong class is held to the bar of the right one: 0.37 against 0.9 x 0.4, not of the wrong class's own probability.
    assert own.wrong.value == pytest.approx((0 + 1) / 2) and other.wrong.value == pytest.approx((3 / 3 + 0) / 2)
    assert found.over[OTHER].value == pytest.approx(((0.25 + 0.0 + 0.8) / 3 - 0.75) / 2)
    assert (found.images, found.empty, own.completeness.n, own.completeness.classes) == (4, 2, 4, 2)
    assert found.area.value == pytest.approx((0.2 + 0.4) / 2)
    assert own.completeness.low < own.completeness.value < own.completeness.high


def test_lines_and_json_where_there_is_nothing() -> None:
    none = Estimate(math.nan, 0, math.nan, math.nan, 0)
    empty = of_kind(np.zeros(0), {}, np.zeros(0), np.zeros(0, dtype=np.int64), 3, 0.9)
    some = Certificates(0.9, 0.5, "fill_gray", 3, 0, none, {"core": empty})
    text = lines("net", some)
    assert text.splitlines() == [
        "net: 3 images, 0 answered right; nothing to certify",
        "  core masks of 0 images; 3 more have an empty one",
    ]
    without = lines("net", replace(some, left_out=LeftOutFacts(2, "ab" * 32))).splitlines()
    assert (
        without[1] == "  2 images left out on request (ids abababababab)"
        and "\n".join(without[:1] + without[2:]) == text
    )
    assert json.loads(json.dumps(some.to_json(), allow_nan=False))["confidence"]["value"] is None
    whole = of_kind(WHOLE, SEEN, np.full(4, 0.25), LABELS, 0, 0.9)
    text = lines("net", Certificates(0.9, 0.5, "blur_4", 5, 4, none, {"spurious": whole}))
    assert "spurious masks of 4 images, 0.250 of the pixels, all others blur_4" in text
    assert text.splitlines()[2] == "    4 images of 2 classes: too few, so that intervals are too narrow"
    enough = of_kind(np.tile(WHOLE, 5), {OWN: Seen(np.ones(20), np.zeros(20))}, np.ones(20), np.tile(LABELS, 5), 0, 0.9)
    assert "too few" not in lines("net", Certificates(0.9, 0.5, "blur_4", 20, 20, none, {"spurious": enough}))
    assert "the image's own mask      0.525 [" in text and "more than where another's mask is  " in text

"""What is said of a study is no more than its networks allow."""

from __future__ import annotations

from salient_imagenet_data.evaluation.numbers.estimates import Estimate
from salient_imagenet_data.evaluation.study.sayings import verdict
from salient_imagenet_data.evaluation.study.tables import Ordering


def ordering(key: str, value: float, networks: int) -> Ordering:
    e = Estimate(value, networks, value, value)
    return Ordering(key, key, "more", "", e, e, e, e, e, (value,) * networks, 5)


def test_of_one_network_nothing_is_sure_since_its_intervals_have_no_width() -> None:
    one = [ordering("rcs", 0.9, 1), ordering("gap", -0.5, 1), ordering("", 1.0, 1)]
    assert verdict(one) == "Of 2 measures nothing is sure: one network has no interval. Give two --seeds or more."
    two = verdict([ordering("rcs", 0.9, 2), ordering("gap", -0.5, 2)])
    assert "1 put the methods more in the order" in two and "1 in the reverse order" in two

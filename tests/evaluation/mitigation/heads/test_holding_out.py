"""Choosing a setting on images held out: who is held out, and which setting wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from salient_imagenet_data.evaluation.mitigation.heads.fitting import Data
from salient_imagenet_data.evaluation.mitigation.heads.holding_out import answers, choose, halves, part, why
from salient_imagenet_data.evaluation.numbers.groups import Groups, Rule
from tests.evaluation.mitigation.heads.data import leaning


def test_halves_are_of_each_group_and_share_no_image() -> None:
    index = np.array([4] * 5 + [0] * 2 + [7])
    first, second = halves(index, 0)
    assert sorted([*first, *second]) == list(range(8)) and (np.diff(first) > 0).all()
    assert [(index[first] == g).sum() for g in (4, 0, 7)] == [3, 1, 1]
    assert halves(index, 0)[0].tolist() == first.tolist() != halves(index, 1)[0].tolist()


def test_the_setting_with_the_best_worst_group_wins_then_the_better_mean_then_the_first() -> None:
    """Heads that are given, not fitted, of two groups: right on one, on the other, on both, on both."""
    labels = torch.tensor([0, 0, 1, 1] * 4)
    x = torch.nn.functional.one_hot(labels, 2).float()
    data = Data(x, labels, torch.zeros(2, 2), None, np.arange(16.0), np.array([True, True]))
    groups = data.groups(Rule())
    heads = {
        "first class": [[1.0, 1.0], [0.0, 0.0]],
        "both": [[1.0, 0.0], [0.0, 1.0]],
        "also": [[2.0, 0.0], [0.0, 2.0]],
    }
    seen: list[tuple[str, int]] = []

    def fit(half: Data, of: Groups, setting: str) -> tuple[torch.Tensor, None]:
        assert len(of.labels) == len(half.labels)
        seen.append((setting, len(half.labels)))
        return torch.tensor(heads[setting]), None

    found = choose(tuple(heads), fit, data, groups)
    assert found is not None and (found.setting, found.worst, found.images) == ("both", 1.0, 8)
    assert seen == [(name, 8) for name in heads]
    assert why(found, tuple(heads)) == ", by the worst group, 1.000 right, of 8 images held out"
    assert choose(("both",), fit, data, groups) is None and why(None, ("both",)) == ""


def test_where_no_group_has_two_images_the_first_setting_is_taken_and_that_is_said() -> None:
    data, _ = leaning(3)
    assert choose((1.0, 2.0), lambda *_: (data.weight, data.bias), data, data.groups(Rule())) is None
    assert why(None, (1.0, 2.0)) == ", the first, since no group has two images"


def test_images_of_classes_without_a_cue_choose_nothing() -> None:
    data, _ = leaning(60)
    some = replace(data, has_cue=np.array([True, False, True]))
    found = choose((1, 2), lambda *_: (data.weight, data.bias), some, some.groups(Rule()))
    assert found is not None and found.images == 20


def test_a_part_keeps_all_of_its_images_and_answers_are_of_the_largest_logit() -> None:
    data, _ = leaning(30)
    places = np.array([2, 5, 11])
    some = part(data, places)
    assert torch.equal(some.features, data.features[places]) and some.labels.tolist() == data.labels[places].tolist()
    assert some.scores.tolist() == data.scores[places].tolist() and some.weight is data.weight
    logits = some.features @ data.weight.T + data.bias
    assert answers(some.features, data.weight, data.bias).tolist() == logits.argmax(1).tolist()

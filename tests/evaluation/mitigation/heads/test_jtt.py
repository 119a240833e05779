"""Just train twice: the errors against a count, their weight, and what it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.heads.fitting import fit_head
from salient_imagenet_data.evaluation.mitigation.heads.jtt import JTT, errors, upweighted
from salient_imagenet_data.evaluation.numbers.groups import Rule
from tests.evaluation.mitigation.heads.data import accuracy, leaning


def test_errors_are_what_the_head_that_is_there_has_wrong() -> None:
    data, own = leaning(200)
    logits = data.features.numpy() @ data.weight.numpy().T + data.bias.numpy()  # type: ignore[union-attr]
    wrong = errors(data)
    assert wrong.tolist() == (logits.argmax(1) != data.labels.numpy()).tolist()
    assert wrong[~own].mean() > 0.4 > 10 * wrong[own].mean()
    plain = errors(replace(data, bias=None))
    assert plain.tolist() == ((data.features @ data.weight.T).argmax(1) != data.labels).tolist()


def test_errors_count_so_many_times() -> None:
    """Against a head fitted on a table in which they stand so many times."""
    data, _ = leaning(90)
    wrong = errors(data)
    times = torch.from_numpy(np.where(wrong, 5, 1))
    x, y = data.features.repeat_interleave(times, 0), data.labels.repeat_interleave(times)
    scale = float(data.features.double().square().mean() / x.double().square().mean())
    repeated = fit_head(x, y, data.weight, None, decay=0.01 * scale)
    found = upweighted(replace(data, bias=None), wrong, 5.0, 0.01)
    assert torch.allclose(found.weight, repeated.weight, atol=1e-4) and found.images == 90


def test_where_the_cue_is_missing_the_head_is_right_more_often() -> None:
    data, _ = leaning(600)
    fresh, apart = leaning(600, seed=1)
    fitted = JTT(rule=Rule(None)).fit(data)
    before, after = (accuracy(fresh, w, b, ~apart) for w, b in ((data.weight, data.bias), (fitted.weight, fitted.bias)))
    assert before < 0.35 and after > before + 0.2
    count = int(errors(data).sum())
    assert fitted.note.startswith(f"{count} of 600 images are wrong and count ") and "held out" in fitted.note
    assert JTT((7.0,)).fit(data).note == f"{count} of 600 images are wrong and count 7 times"


def test_without_errors_there_is_nothing_to_train_twice_on() -> None:
    data, _ = leaning(200)
    easy = np.flatnonzero(~errors(data))
    right = replace(data, features=data.features[easy], labels=data.labels[easy], scores=data.scores[easy])
    with pytest.raises(SalientError, match="nothing to train twice on; .*; got 0 of .*not trained on"):
        JTT().fit(right)
    for bad in ((), (0.5,)):
        with pytest.raises(
            SalientError, match="how often an error counts; expected one or more numbers, each at least"
        ):
            JTT(bad)

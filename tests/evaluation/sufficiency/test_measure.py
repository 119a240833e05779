"""Figures of sufficient subsets, against plain loops over images, and where the truth is planted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.run.images import classmates
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.figures import Sufficiency, lines, wrong_class
from salient_imagenet_data.evaluation.sufficiency.given import sure_sizes
from salient_imagenet_data.evaluation.sufficiency.measure import Asked, columns_of, measure
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.select import select
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.loaders.corruption.corruptions import image_seeds
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.ranking.left_out import LeftOutFacts
from salient_imagenet_data.store.reading import Store
from tests.evaluation.runs import pixels_of

TAU, STEP, SIDE = 0.6, 49, 56


def leaning(x: torch.Tensor) -> torch.Tensor:
    """A classifier of ten classes that looks at the colours of two corners and at the middle."""
    weight = torch.randn(3 * 3, 10, generator=torch.Generator().manual_seed(5))
    places = [x[:, :, :9, :9], x[:, :, -7:, -7:], x[:, :, 20:36, 20:36]]
    seen = torch.cat([place.mean((2, 3)) for place in places], dim=1)
    return 30.0 * (seen - 0.4) @ weight


@pytest.fixture(scope="module")
def orders(store: Store, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Orders:
    folder = tmp_path_factory.mktemp("orders") / "o"
    return select(Classifier("m", leaning), store, FolderSource(images), folder, Choice(step=STEP), Settings(16))


def class_mean(values: list[float], labels: list[int]) -> float:
    by_class: dict[int, list[float]] = {}
    for value, label in zip(values, labels, strict=True):
        if not math.isnan(value):
            by_class.setdefault(label, []).append(value)
    return float(np.mean([np.mean(group) for group in by_class.values()]))


def test_every_figure_by_a_loop_over_images(store: Store, images: Path, orders: Orders) -> None:
    source, labels = FolderSource(images), orders.labels.tolist()
    found = measure(Classifier("m", leaning), orders, store, source, Asked(TAU, border=3), Settings(7))
    assert found.images == 40 and 10 < found.sure < 40, "or the test says nothing"
    fill, nan = torch.tensor(orders.recipe.fill)[:, None, None], math.nan
    partner = classmates(store, 0)
    told: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        told.setdefault(name, []).append(value)

    for row in range(40):
        x, order = pixels_of(store, source, row), orders.order(row, row + 1)[0]
        answer = int(leaning(x[None]).argmax())
        left = [SIDE * SIDE - min(t * STEP, SIDE * SIDE) for t in range(len(orders.confidence[row]))]
        enough = [size for size, p in zip(left, orders.confidence[row], strict=True) if p >= TAU]
        sure = orders.confidence[row, 0] >= TAU
        size = min(enough) if sure else 0

        def pixels(chosen: np.ndarray) -> np.ndarray:
            keep = np.zeros(SIDE * SIDE, dtype=bool)
            keep[chosen] = True
            return keep.reshape(SIDE, SIDE)

        def ask(keep: np.ndarray, x: torch.Tensor = x) -> torch.Tensor:
            return leaning(torch.where(torch.from_numpy(keep), x, fill)[None]).softmax(1)[0]

        subset = pixels(order[len(order) - size :])
        note("size", size / SIDE**2 if sure else nan)
        note("sufficient", float(ask(subset)[answer]) if sure else nan)
        wide = np.zeros_like(subset)
        for r, c in zip(*np.nonzero(subset), strict=True):
            wide[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3] = True
        note("dilated", float(ask(wide)[answer]) if sure else nan)
        drawn = np.random.default_rng(image_seeds(0, [orders.image_ids[row]], "subset")[0]).permutation(SIDE**2)
        note("random", float(ask(pixels(drawn[len(drawn) - size :]))[answer]) if sure else nan)
        tenth = round(0.1 * SIDE**2)
        note("last 0.1", float(ask(pixels(order[-tenth:])).argmax() == labels[row]))
        note("same 0.1", float(ask(pixels(order[-tenth:])).argmax() == answer))
        note("random 0.1", float(ask(pixels(drawn[-tenth:])).argmax() == labels[row]))
        edge = np.ones((SIDE, SIDE), dtype=bool)
        edge[3:-3, 3:-3] = False
        note("edge", float(ask(edge).argmax() == labels[row]))
        note("inside", float(ask(~edge).argmax() == labels[row]))
        note("on edge", float(subset[edge].sum() / subset.sum()) if size else nan)
        zeros = np.zeros((SIDE, SIDE), dtype=np.float32)
        own = {k: store.mask(row, k) for k in KINDS}
        others = {k: store.mask(int(partner[row]), k) if own[k] is not None else None for k in KINDS}
        for which, masks in (("", own), (" other", others)):
            core, spurious = (zeros if masks[k] is None else masks[k] for k in KINDS)
            there = {"core": (core >= 0.5) & (core >= spurious), "spurious": (spurious >= 0.5) & (spurious > core)}
            there["neither"] = ~(there["core"] | there["spurious"])
            for name, part in there.items():
                counts = size and (own[name] is not None if name in KINDS else True)
                note(name + which, float(subset[part].sum() / subset.sum()) if counts else nan)
                if not which:
                    note(name + " area", float(part.mean()) if counts else nan)
    mean = {name: class_mean(values, labels) for name, values in told.items()}
    close = {"rel": 1e-4, "abs": 1e-6}
    assert found.size.value == pytest.approx(mean["size"], **close)
    assert found.median == pytest.approx(np.nanmedian(told["size"])) and found.size.n == found.sure
    confidence = {name.split(",")[0]: e.value for name, e in found.confidence.items()}
    assert confidence["sufficient subset"] == pytest.approx(mean["sufficient"], **close)
    assert confidence["dilated by 2 px"] == pytest.approx(mean["dilated"], **close)
    assert confidence["as many random pixels"] == pytest.approx(mean["random"], **close)
    (tenth_row,) = (row for row in found.subsets if row.share == 0.1)
    ours = (tenth_row.accuracy.value, tenth_row.agreement.value, tenth_row.random.value)
    assert ours == pytest.approx((mean["last 0.1"], mean["same 0.1"], mean["random 0.1"]))
    assert (found.border_only.value, found.without_border.value) == pytest.approx((mean["edge"], mean["inside"]))
    assert found.border.share.value == pytest.approx(mean["on edge"]) and found.border.other is None
    assert found.border.area == pytest.approx(1 - (50 / 56) ** 2) and found.border_width == 3
    for name, place in found.places.items():
        assert place.share.value == pytest.approx(mean[name], **close), name
        assert place.area == pytest.approx(mean[name + " area"], **close), name
        assert place.other is not None and place.other.value == pytest.approx(mean[name + " other"], **close), name
    assert len({round(p.share.value, 3) for p in found.places.values()}) == 3


def test_the_other_parts_are_all_of_one_image_of_the_class(store: Store, images: Path, orders: Orders) -> None:
    """Every image of the class is tried, whoever drew the partner: one and the same must give all three shares."""
    joined, sizes = join(store, FolderSource(images)), sure_sizes(orders, TAU)
    found = columns_of(Classifier("m", leaning), orders, joined, sizes, Asked(TAU), Settings(16))
    zeros, seen, names = np.zeros((SIDE, SIDE), dtype=np.float32), 0, ("core", "spurious", "neither")
    for row in np.flatnonzero(sizes > 0).tolist():
        subset = np.zeros(SIDE * SIDE, dtype=bool)
        subset[orders.order(row, row + 1)[0, -int(sizes[row]) :]] = True
        subset = subset.reshape(SIDE, SIDE)
        measured = [float(found[f"{name} other"][row]) for name in names]
        if all(math.isnan(value) for value in measured):
            continue
        fitting = []
        for other in np.flatnonzero(orders.labels == orders.labels[row]).tolist():
            masks = [store.mask(other, kind) for kind in KINDS]
            core, spurious = (zeros if mask is None else mask for mask in masks)
            there = [(core >= 0.5) & (core >= spurious), (spurious >= 0.5) & (spurious > core)]
            there.append(~(there[0] | there[1]))
            shares = [float(subset[part].sum() / subset.sum()) for part in there]
            close = [math.isnan(m) or abs(m - share) < 1e-6 for m, share in zip(measured, shares, strict=True)]
            if other != row and all(close):
                fitting.append(other)
        assert fitting, (row, measured)
        seen += not any(math.isnan(value) for value in measured)
    assert seen > 3, "or the test says nothing of two masks"


def test_a_subset_lies_where_the_classifier_looks(store: Store, images: Path, orders: Orders) -> None:
    """Nothing outside two corners and the middle is in any subset that is a step smaller than what they hold."""
    seen = np.zeros((SIDE, SIDE), dtype=bool)
    seen[:9, :9] = seen[-7:, -7:] = seen[20:36, 20:36] = True
    for row in range(40):
        last = orders.order(row, row + 1)[0]
        helping = last[-STEP:]
        # Pixels that speak against the class are masked first and those that play no part next.
        assert seen.ravel()[helping].mean() > 0.9, row


def test_without_answers_there_are_no_places(bare_store: Store, images: Path, tmp_path: Path) -> None:
    source, classifier = FolderSource(images), Classifier("m", leaning)
    choice = Choice(cell=14, step=3, wrong_class=False, fill=(0.5, 0.5, 0.5))
    made = select(classifier, bare_store, source, tmp_path / "o", choice, Settings(20))
    found = measure(classifier, made, bare_store, source, Asked(0.5), Settings(20))
    assert found.places == {} and found.wrong_class is None and found.border.share.n == found.sure - found.empty > 0
    unsure = Classifier("unsure", lambda x: leaning(x) / 100)
    none = measure(unsure, select(unsure, bare_store, source, tmp_path / "u", choice), bare_store, source)
    assert none.sure == 0 and "choose a lower --tau" in lines("unsure", none)
    assert json.loads(json.dumps(none.to_json(), allow_nan=False))["size"]["value"] is None
    with pytest.raises(SalientError, match="orders of another classifier; got m"):
        measure(Classifier("other", leaning), made, bare_store, source)
    with pytest.raises(SalientError, match="threshold; expected above 0 and at most 1; got 0"):
        Asked(0.0)


def test_the_control_of_a_wrong_class() -> None:
    """Of four sure images three have a subset for a wrong class, of which two are no larger than the answer's."""
    sizes, wrong = np.array([10, 20, 30, 40]), np.array([10, 5, -1, 60])
    found = wrong_class(wrong, sizes, np.zeros(4, dtype=np.int64), 100)
    assert (found.found.value, found.no_larger.value) == (0.75, 0.5)
    assert found.size.value == pytest.approx(0.25) and found.size.n == 3


def test_lines_say_every_figure(store: Store, images: Path, orders: Orders) -> None:
    found: Sufficiency = measure(Classifier("m", leaning), orders, store, FolderSource(images), Asked(TAU))
    text = lines("the model", found)
    first = f"the model: 40 images, {found.sure} of them with a confidence of at least 0.6"
    assert text.startswith(first) and "left out" not in text
    without = lines("the model", replace(found, left_out=LeftOutFacts(1, "ab" * 32))).splitlines()
    assert without[1] == "  1 image left out on request (ids abababababab)"
    for estimate in (
        found.size,
        found.border_only,
        found.accuracy,
        found.subsets[0].random,
        *found.confidence.values(),
    ):
        assert estimate.words in text
    assert found.places["core"].other is not None and found.places["core"].other.words in text
    assert "in border of 1 px" in text and found.wrong_class is not None and found.wrong_class.found.words in text

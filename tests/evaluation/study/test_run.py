"""A study on the tests' store: what a row holds, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.certificates.certify import certify
from salient_imagenet_data.evaluation.certificates.choices import Asked
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.mitigation.heads.least_spurious import Spuriosity
from salient_imagenet_data.evaluation.mitigation.heads.retrain import retrain_head
from salient_imagenet_data.evaluation.plan.plan import Conditions
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.saliency.alignment import align
from salient_imagenet_data.evaluation.study import run
from salient_imagenet_data.evaluation.study.measures import REGISTERED
from salient_imagenet_data.evaluation.study.methods import FAMILIES, NAMES, Head, methods_of, treatments_of
from salient_imagenet_data.evaluation.study.own import StoreOpening
from salient_imagenet_data.evaluation.study.plan import Plan
from salient_imagenet_data.evaluation.study.rows import ABOUT, Row
from salient_imagenet_data.evaluation.study.run import study
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.store.reading import Store

TINY = Plan(few=1, curve_steps=2, subset_steps=7, threshold=0.11, head_images=1, weights=1)
TEST = Fold(2, 2)


@pytest.fixture(scope="module")
def opening(store: Store, images: Path, weights: Path) -> StoreOpening:
    return StoreOpening(str(store.path), str(images), weights=(str(weights),), seeds=2)


@pytest.fixture(scope="module")
def done(opening: StoreOpening, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """The network as it is and with another head, from two seeds. Do not change it."""
    folder = tmp_path_factory.mktemp("study") / "out"
    return folder, study(opening, folder, methods_of(["before", "head random"]), TINY)


def test_a_row_holds_what_the_commands_say_of_the_treated_network(
    done: tuple[Path, list[Row]], store: Store, images: Path, weights: Path
) -> None:
    _, rows = done
    row = next(r for r in rows if r.method == "head random" and r.start.endswith("seed 1"))
    (opener,) = open_networks(store, weights=[str(weights)]).values()
    classifier = opener()
    settings = Settings(seed=1, fold=Fold(1, 2))
    network, _ = retrain_head(classifier, store, images, Spuriosity("random", most=1), settings)
    after, on = replace(classifier, model=network), Settings(32, fold=TEST)
    result = evaluate(after, store, images, Conditions(("iclr2022", "corm2022"), (0.5,), controls=False), on)
    assert row.measures["clean"] == pytest.approx(result.clean_accuracy.value)
    core = result.left("core_accuracy", 0.5)
    assert core is not None and row.measures["core"] == pytest.approx(core.accuracy.value)
    assert row.measures["rcs"] == pytest.approx(result.ratios["rcs"][0].ratio.value)
    looks = align(after, store, images, saliency="grad_cam", settings=on)
    assert row.measures["mass_spurious grad_cam"] == pytest.approx(looks.mass_spurious.value)
    assert row.measures["pointing grad_cam"] == pytest.approx(looks.pointing.value)
    certified = certify(after, store, images, Asked(steps=0), on)
    assert row.counts["right"] == certified.right and row.counts["images"] == result.images == row.counts["few"]
    (found,) = [certified.kinds["core"].masks["own"].certified]
    assert row.measures["certified_core"] == pytest.approx(found.value) and set(row.measures) == {
        m.key for m in REGISTERED
    }
    assert row.truth == {} and row.held_out is None and row.counts["sure"] and row.measures["sis_core"] is not None


def test_seeds_differ_only_in_what_is_drawn(done: tuple[Path, list[Row]]) -> None:
    _, rows = done
    first, second = (
        {r.method: dataclasses.asdict(replace(r, start="")) for r in rows if r.start.endswith(seed)}
        for seed in ("0", "1")
    )
    assert first["before"] == second["before"] and first["head random"] != second["head random"]


def test_a_folder_of_another_plan_or_of_something_else_is_refused(
    done: tuple[Path, list[Row]], opening: StoreOpening, tmp_path: Path
) -> None:
    folder, _ = done
    with pytest.raises(SalientError, match="holds a study of another plan"):
        study(opening, folder, methods_of(["before"]), replace(TINY, sigma=0.25))
    with pytest.raises(SalientError, match="holds a study of another plan"):
        study(replace(opening, test_fold=Fold(2, 4)), folder, methods_of(["before"]), TINY)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SalientError, match="not a study; expected an empty folder"):
        study(opening, tmp_path, methods_of(["before"]), TINY)
    assert json.loads((folder / ABOUT).read_text())["test_fold"] == "2/2"


def test_what_is_to_be_heard_of_a_network_is_told_once_before_its_rows(
    done: tuple[Path, list[Row]], opening: StoreOpening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, (first, *_) = Path(shutil.copytree(done[0], tmp_path / "copy")), done[1]
    for path in (copy / "rows").glob("*.before.json"):
        path.unlink()
    monkeypatch.setattr(run, "treated", lambda ground, start, treatment, plan: replace(first, start=start.name))
    monkeypatch.setattr(run, "told", lambda details, preprocessing: [f"{details['spec']}: {preprocessing}"])
    heard: list[str] = []
    study(opening, copy, methods_of(["before"]), TINY, report=heard.append)
    assert heard[0].endswith(": shorter side resized to 60 (bilinear), central 56 x 56") and len(heard) == 3
    assert [line[:4] for line in heard[1:]] == ["1/2 ", "2/2 "]
    heard.clear()
    study(opening, copy, methods_of(["before"]), TINY, report=heard.append)
    assert heard == ["2 of 2 rows are there already"]


def test_a_row_that_is_damaged_is_told_by_its_name(
    done: tuple[Path, list[Row]], opening: StoreOpening, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(done[0], tmp_path / "copy"))
    first = min((copy / "rows").iterdir())
    first.write_text("{")
    with pytest.raises(SalientError, match=f"{first.name}: not understood"):
        study(opening, copy, methods_of(["before"]), TINY)


def test_a_method_that_cannot_be_used_is_a_row_that_says_why_and_is_tried_again(
    done: tuple[Path, list[Row]], opening: StoreOpening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise SalientError("no head", expected="a linear one")

    asked = replace(opening, seeds=1), tmp_path / "out", methods_of(["head random"]), TINY
    with monkeypatch.context() as patch:
        patch.setattr(Head, "treat", refused)
        (row,) = study(*asked)
    assert row.failed == "no head; expected a linear one" and row.measures == {}
    told: list[str] = []
    (row,) = study(*asked, report=told.append)
    same = next(r for r in done[1] if r.method == "head random" and r.start.endswith("seed 0"))
    assert not row.failed and row.measures == same.measures and len(told) == 1
    assert study(*asked, report=told.append) == [row] and told[1:] == ["1 of 1 rows are there already"]


def test_folds_that_share_images_are_refused() -> None:
    for first, second in ((WHOLE, TEST), (Fold(1, 2), Fold(1, 2)), (Fold(1, 2), Fold(3, 4)), (Fold(1, 2), Fold(2, 3))):
        with pytest.raises(SalientError, match="folds to train on and to measure on"):
            StoreOpening("store", "images", train_fold=first, test_fold=second)
    StoreOpening("store", "images", train_fold=Fold(1, 2), test_fold=Fold(2, 8))


def test_methods_are_chosen_by_name_or_kind_in_the_order_of_telling() -> None:
    assert [m.name for m in methods_of(["l1", "correction", "before"])] == ["before", "l1", "spufix"]
    assert tuple(m.name for m in methods_of([])) == NAMES and len(NAMES) == len({*NAMES, *FAMILIES}) - len(FAMILIES)
    assert [t.name for t in treatments_of(methods_of(["energy", "none"]), Plan())] == ["none", "energy 3", "energy 30"]
    assert [t.name for t in treatments_of(methods_of(["energy"]), Plan(weights=1))] == ["energy 3"]
    with pytest.raises(SalientError, match="method is not known"):
        methods_of(["energie"])


@pytest.mark.parametrize(
    "wrong", [{"few": 0}, {"sigma": 0.0}, {"threshold": 1.1}, {"learning_rate": 0.0}, {"weights": 0}]
)
def test_a_plan_of_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SalientError, match="plan of the study"):
        Plan(**wrong)  # type: ignore[arg-type]

"""Protocols against plain loops, and runs of several models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.evaluate import evaluate, run_models
from salient_imagenet_data.evaluation.numbers.bootstrap import relative_sensitivity
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.evaluation.plan.plan import Conditions, make_plan
from salient_imagenet_data.evaluation.plan.regions import INSIDE, OUTSIDE, foreground
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.loaders.corruption.corruptions import gaussian_noise, image_generator, image_seeds
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.evaluation.runs import Counting, pixels_of, sensitive
from tests.warm import Warm


def test_iclr2022_against_a_plain_loop(store: Store, images: Path) -> None:
    source = FolderSource(images)
    result = evaluate(sensitive, store, source, Conditions(sigmas=(0.25, 1.0)), Settings(seed=4))
    for kind, name in (("spurious", "core_accuracy"), ("core", "spurious_accuracy")):
        hits: dict[int, list[bool]] = {}
        for row, record in enumerate(store.rows):
            mask = store.mask(row, kind, top_only=True)  # type: ignore[arg-type]
            if mask is None:
                continue
            x = pixels_of(store, source, row)
            noisy = gaussian_noise(x, torch.from_numpy(mask), 1.0, image_generator(4, record.image_id))
            hits.setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
        entry = result.left(name, 1.0)
        assert entry is not None and result.left(name, 0.25) not in (None, entry)
        assert entry.accuracy.value == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
        assert entry.accuracy.n == sum(map(len, hits.values()))
        assert entry.accuracy.classes == len(hits) == len(entry.per_class) == 9
    assert {c.sigma for c in result.conditions} == {0.25, 1.0}


def test_corm2022_against_a_plain_loop_with_scipys_dilation(store: Store, images: Path) -> None:
    source = FolderSource(images)
    result = evaluate(sensitive, store, source, Conditions(protocols=("corm2022",), sigmas=(0.5,)), Settings(seed=1))
    hits: dict[str, dict[int, list[bool]]] = {INSIDE: {}, OUTSIDE: {}}
    plus = ndimage.generate_binary_structure(2, 1)
    for row, record in enumerate(store.rows):
        mask = store.mask(row, "core")
        if mask is None:
            continue
        for _ in range(round(15 * 56 / 224)):
            mask = ndimage.grey_dilation(mask, footprint=plus, mode="nearest")
        c = torch.from_numpy(mask / mask.max())
        for name, m in ((INSIDE, c), (OUTSIDE, 1 - c)):
            noisy = gaussian_noise(pixels_of(store, source, row), m, 0.5, image_generator(1, record.image_id))
            hits[name].setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
    inside, outside = (float(np.mean([np.mean(h) for h in hits[name].values()])) for name in (INSIDE, OUTSIDE))
    (own,) = [r for r in result.ratios["rcs"] if not r.control]
    assert own.accuracy_inside.value == pytest.approx(inside)
    assert own.accuracy_outside.value == pytest.approx(outside)
    assert own.ratio.value == pytest.approx(relative_sensitivity(outside, inside))
    assert {r.control for r in result.ratios["rcs"]} == {"", "random", "other"} and own.ratio.n == 36


def test_rival2022_against_a_plain_loop(store: Store, images: Path) -> None:
    source = FolderSource(images)
    result = evaluate(sensitive, store, source, Conditions(protocols=("rival2022",), sigmas=(0.5,)), Settings(seed=2))
    hits: dict[str, dict[int, list[bool]]] = {"foreground": {}, "background": {}}
    for row, record in enumerate(store.rows):
        mask = store.mask(row, "core")
        if mask is None:
            continue
        m = torch.from_numpy(mask)
        for name, region in (("foreground", m), ("background", 1 - m)):
            noisy = gaussian_noise(pixels_of(store, source, row), region, 0.5, image_generator(2, record.image_id))
            hits[name].setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
    inside, outside = (float(np.mean([np.mean(h) for h in hits[name].values()])) for name in hits)
    (own,) = [r for r in result.ratios["rfs"] if not r.control]
    assert own.accuracy_inside.value == pytest.approx(inside)
    assert own.accuracy_outside.value == pytest.approx(outside)
    middle = (inside + outside) / 2
    assert own.ratio.value == pytest.approx((outside - inside) / (2 * min(middle, 1 - middle)))
    assert result.ratios.keys() == {"rfs"} and own.ratio.n == 36


def test_three_trials_draw_three_times(store: Store, images: Path) -> None:
    source = FolderSource(images)
    (own, *_) = evaluate(
        sensitive, store, source, Conditions(protocols=("rival2022",), sigmas=(0.5,), trials=3)
    ).ratios["rfs"]
    assert own.trials == 3 and own.control == ""
    hits: dict[int, list[bool]] = {}
    for row, record in enumerate(store.rows):
        mask = store.mask(row, "core")
        if mask is None:
            continue
        for trial in ("", "trial 2", "trial 3"):
            (seed,) = image_seeds(0, [record.image_id], trial)
            generator = torch.Generator().manual_seed(seed)
            noisy = gaussian_noise(pixels_of(store, source, row), torch.from_numpy(mask), 0.5, generator)
            hits.setdefault(record.label, []).append(int(sensitive(noisy[None]).argmax()) == record.label)
    assert own.accuracy_inside.value == pytest.approx(np.mean([np.mean(h) for h in hits.values()]))
    plan = make_plan(store, ["iclr2022", "rival2022"], ["noise_0.5", "fill_gray", "shuffle"], trials=2)
    again = {c.name for c in plan.conditions if c.trial == 2}
    assert "noise_0.5#2@foreground" in again and "shuffle#2@background_random" in again and len(again) == 12
    with pytest.raises(SalientError, match="trials; expected 1 to 10; got 11"):
        make_plan(store, trials=11)


def test_single_features(store: Store, images: Path, weights: Path) -> None:
    model, _ = load_model(weights)
    result = evaluate(model, store, FolderSource(images), Conditions(single_features=True))
    found = result.condition("noise_0.25@rank_2")
    assert found is not None and found.single_feature and not found.claim
    rows = found.per_class
    assert len(rows) == 10 and rows[3].feature is not None and rows[3].feature.kind == "spurious"
    assert rows[3].accuracy.n == 2 and rows[3].feature.rank == 2
    feature = next(r for r in store.features if (r.class_index, r.rank) == (3, 2))
    assert rows[3].feature.feature_index == feature.feature_index


def test_a_function_of_ones_own_may_view_its_images(store: Store, images: Path) -> None:
    evaluate(lambda x: x.view(len(x), -1)[:, :10], store, FolderSource(images))


def test_wrong_number_of_classes_and_bad_conditions(store: Store, images: Path) -> None:
    source = FolderSource(images)
    with pytest.raises(SalientError, match=r"expected \(batch, 10\) logits; got \(\d+, 7\)"):
        evaluate(lambda x: torch.zeros(len(x), 7), store, source)
    with pytest.raises(SalientError, match="NaN or infinities"):
        evaluate(lambda x: torch.full((len(x), 10), torch.nan), store, source)
    for level in (-1.0, 0.0, 1.5, float("nan"), float("inf")):
        with pytest.raises(SalientError, match=f"noise levels; expected .*; got 0.5, {level:g}$"):
            evaluate(lambda x: torch.zeros(len(x), 10), store, source, Conditions(sigmas=(0.5, level)))
    with pytest.raises(SalientError, match="corruption 'fill_pink' is not known"):
        evaluate(lambda x: torch.zeros(len(x), 10), store, source, Conditions(corruptions=("fill_pink",)))
    with pytest.raises(SalientError, match="protocol is not known"):
        evaluate(lambda x: torch.zeros(len(x), 10), store, source, Conditions(protocols=("iclr2021",)))


def test_two_runs_into_one_folder_are_one_after_the_other(store: Store, images: Path, tmp_path: Path) -> None:
    plan, source = make_plan(store, corruptions=["noise_0.5"], controls=False), FolderSource(images)
    opener = {"linear": lambda: Classifier("linear", sensitive)}
    with held(tmp_path), pytest.raises(SalientError, match="another process is writing here; got host .*, pid"):
        run_models(opener, store, source, plan, tmp_path, Settings())
    files, failed = run_models(opener, store, source, plan, tmp_path, Settings())
    assert not failed and [p.name for p in tmp_path.iterdir()] == ["linear.parquet"]
    assert len(files[0].conditions[CLEAN].image_ids) == len(plan.rows)


def test_a_model_that_fails_is_one_line_and_the_others_go_on(store: Store, images: Path, tmp_path: Path) -> None:
    def opener(name: str, model: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], Classifier]:
        return lambda: Classifier(name, model)

    def missing() -> Classifier:
        raise ImportError("no such thing\nand more")

    openers = {"absent": missing, "seven": opener("seven", lambda x: torch.zeros(len(x), 7))}
    openers |= {"cut": opener("cut", Counting(0)), "good": opener("good", sensitive)}
    plan, lines = make_plan(store, controls=False), list[str]()
    files, failed = run_models(openers, store, FolderSource(images), plan, tmp_path, Settings(), report=lines.append)
    assert [file.model for file in files] == ["good"]
    assert {f.name: f.reason for f in failed} == {
        "absent": "ImportError: no such thing",
        "seven": f"model's output does not fit the store; expected (batch, 10) logits; got ({len(plan.rows)}, 7)",
        "cut": "RuntimeError: power cut",
    }
    assert len(lines) == 4 and not any("\n" in line for line in lines)
    assert [p.name for p in tmp_path.iterdir()] == ["good.parquet"]


def test_workers_with_few_file_descriptors(store: Store, images: Path, warm: Warm) -> None:
    """A worker hands over a few pieces of memory a batch, not several an image: each takes a descriptor."""
    program = (
        "import resource, sys\n"
        "from salient_imagenet_data.evaluation.plan.plan import Conditions\n"
        "from salient_imagenet_data.evaluation.run.settings import Settings\n"
        "from salient_imagenet_data.evaluation.evaluate import evaluate\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))\n"
        "    model = lambda images: images.mean((2, 3)) @ images.new_ones(3, 10)\n"
        "    conditions = Conditions(protocols=('iclr2022', 'corm2022'))\n"
        "    result = evaluate(model, sys.argv[1], sys.argv[2], conditions, Settings(workers=2, batch_size=40))\n"
        "    print(result.images)\n"
    )
    done = warm.run("-c", program, store.path, images)
    assert done.returncode == 0 and int(done.stdout) == 40, done.stderr[-2000:]


def test_paths_are_opened_and_settings_arrive(store: Store, images: Path, tmp_path: Path) -> None:
    whole = evaluate(sensitive, store, FolderSource(images), Conditions(controls=False))
    assert evaluate(sensitive, str(store.path), images, Conditions(controls=False)) == whole
    part = evaluate(sensitive, store.path, str(images), settings=Settings(fold=Fold(1, 2), seed=3))
    assert (part.fold, part.seed) == ("1/2", 3) and 0 < part.images < whole.images
    few = tmp_path / "few"
    shutil.copytree(images, few)
    counted = {store.rows[row].image_id for row in foreground(store).rows.tolist()}
    (few / f"{sorted(counted)[0]}.png").unlink()
    with pytest.raises(SalientError, match="missing"):
        evaluate(sensitive, store, few, Conditions(("corm2022", "iclr2022", "rival2022")))
    left = evaluate(sensitive, store, few, Conditions(("rival2022",), controls=False), Settings(missing="skip"))
    assert left.images == len(counted) - 1 == 35


def test_models_have_a_file_each_under_any_name(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    words = ("evaluate", store.path, "--images", images, "--no-controls", "--sigma", "0.5", "--out", tmp_path / "out")
    two = ("--weights", weights, "--weights", weights)
    code, _, err = run(*words, *two, "--name", "ä", "--name", "Ö 1")
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "out" / "predictions").iterdir()) == ["Ö-1.parquet", "ä.parquet"]
    code, _, err = run(*words, *two, "--name", "Lite head", "--name", "lite_head")
    assert code == 2 and "'lite_head' and 'Lite head' would write one file" in err
    code, _, err = run(*words, "--weights", weights, "--name", "?")
    assert code == 2 and "a model called '?'; expected a name with a letter or a digit" in err
    code, _, err = run(*words, "--weights", weights, "--name", "Ö:1", "--overwrite")
    assert code == 2 and "holds another model's predictions; got Ö 1" in err
    assert (tmp_path / "out" / "predictions" / "Ö-1.parquet").is_file()

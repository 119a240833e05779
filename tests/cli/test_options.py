"""No option is lost on its way: each one of each command, changed, changes what the command makes or says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import write_annotations
from salient_imagenet_data.cli import cli
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.select import select
from salient_imagenet_data.names import MAIN_OBJECT
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run, answers_for
from tests.release_files import FEATURES, WNIDS, release, write_zip

RUN_ONLY: dict[str, set[str]] = {
    "demo": {"overwrite", "as_json"},
    "annotations": {"as_json"},
    "info": {"as_json"},
    "build": {"verbose", "engine", "address", "workers", "threads", "device", "resume", "overwrite"},
    "sheets": {"verbose", "device"},
    "evaluate": {"verbose", "skip_missing", "device", "as_json", "overwrite", "workers"},
    "score": {"verbose", "as_json"},
    "align": {"verbose", "skip_missing", "device", "as_json", "workers"},
    "export": {"verbose", "workers", "overwrite"},
    "publish": {"verbose", "workers", "overwrite"},
    "localise": {"as_json"},
    "look": {"verbose", "overwrite"},
    "label": {"verbose", "host", "port", "token", "no_browser"},
    "export-answers": {"overwrite"},
    "retrain-head": {"verbose", "overwrite", "workers", "skip_missing", "device"},
    "finetune": {"verbose", "overwrite", "workers", "skip_missing", "device"},
    "sis": {"verbose", "skip_missing", "device", "as_json", "overwrite", "workers"},
    "sis-retrain": {"verbose", "device", "as_json"},
    "import-official": {"verbose", "skip_broken", "processes", "resume", "overwrite"},
    "compare": {"as_json"},
    "train": {"verbose", "overwrite", "device", "resume"},
}
"""How a thing is run, or what is let pass. They change no figure; their own tests are with what they do."""
_READ = {"store", "images", "layout"}
_MODEL = {"weights", "architecture"}
INPUTS: dict[str, set[str]] = {
    "demo": {"out"},
    "annotations": {"file"},
    "info": {"store"},
    "verify": {"store"},
    "build": {"images", "layout", "out", "annotations", *_MODEL},
    "sheets": {"out", "attack", "architecture", *_READ},
    "apply": {"store", "answers"},
    "evaluate": {"models", "out", *_READ, *_MODEL},
    "score": {"predictions", "out", *_READ},
    "align": {"models", *_READ, *_MODEL},
    "leaderboard": {"folder", "out"},
    "export": {"out", *_READ},
    "publish": {"out", *_READ},
    "localise": {"store"},
    "look": {"out", *_READ},
    "label": {"answers", *_READ},
    "export-answers": {"store", "answers", "out"},
    "import-answers": {"store", "file", "answers"},
    "retrain-head": {"model", "out", *_READ, *_MODEL},
    "finetune": {"model", "out", *_READ, *_MODEL},
    "sis": {"models", "out", *_READ, *_MODEL},
    "sis-retrain": {"orders", *_READ},
    "import-official": {"release", "out", "annotations", "images", "layout"},
    "compare": {"store_a", "store_b"},
    "train": {"images", "layout", "scenes", "test_images", "out", "start"},
}
"""What a command reads and where it writes: every other test of a command gives them."""
ELSEWHERE: dict[str, dict[str, str]] = {
    "build": {
        "compiled": "builder/units/test_forward.py",
        "trust_annotations": "builder/discovery/test_belonging.py",
        "attacked": "builder/test_robustness.py",
        **dict.fromkeys(("classes", "outputs", "pairs_of"), "test_subsets.py"),
        "pilot": "builder/units/test_engines.py",
        "candidates": "builder/units/test_engines.py",
        "probe": "builder/test_probe.py",
    },
    "publish": dict.fromkeys(("repo", "private", "gated", "revision"), "hub/test_http.py")
    | {"redistribute": "hub/test_export.py"},  # the same decorator as of export
    "localise": {"boxes": "evaluation/localisation/test_localise.py"},
    "sheets": {"boxes": "evaluation/localisation/test_localise.py"},
    "evaluate": {"names": "cli/test_evaluate.py", "classes": "test_subsets.py", "outputs": "test_subsets.py"},
    "align": {"outputs": "test_subsets.py"},
    "retrain-head": {"classes": "test_subsets.py", "outputs": "test_subsets.py"},
    "finetune": {"classes": "test_subsets.py", "outputs": "test_subsets.py"},
    "label": dict.fromkeys(
        ("annotator", "per_pair", "repeats", "generalise", "gold", "definitions", "boxes"), "app/label/test_command.py"
    ),
    "export-answers": {"form": "app/label/test_exporting.py"},
    "sis": dict.fromkeys(("names", "ensemble", "input_dropout", "picture"), "evaluation/sufficiency/test_sis.py")
    | {"outputs": "test_subsets.py"},
    "look": {"count": "test_looking.py", "classes": "test_looking.py"},
    "export": {"redistribute": "hub/test_export.py"},
    "train": {"weights": "cli/test_train.py", "autoattack": "cli/test_train.py"},
}
"""Options that need more than a tiny store, and the file of tests that gives them to the command."""
SPLITS, WEIGHTS = "a folder of splits", "weights of a plain state dict"
"""Stand for paths in what is given."""
PLAIN = ("--weights", WEIGHTS, "--architecture", "resnet18")
SCENES = ("--scenes", 30)
NETWORK = "the network of the store"
FROM = ("--from", NETWORK)
CHANGES: dict[str, dict[str, tuple[object, ...]]] = {
    "build": {
        "weights_sha256": ("--weights-sha256", "0" * 64),
        "edition": ("--edition", "top65", "--top-images", 1),
        "group_by": ("--group-by", "prediction"),
        "top_features": ("--top-features", 2),
        "top_images": ("--top-images", 1),
        "majority": ("--majority", 4),
        "data_version": ("--data-version", "2.0.0"),
        "batch_size": ("--batch-size", 7),
        "precision": ("--precision", "bf16"),
        "decoder": ("--decoder", "pillow+torch"),
        "split": ("--split", "val"),
        "stop_after": ("--stop-after", "ranking"),
        "resize": (*PLAIN, "--resize", 60, "--crop", 56),
        "crop": (*PLAIN, "--resize", 64, "--crop", 48),
    },
    "annotations": {"majority": ("--majority", 4)},
    "apply": {"majority": ("--majority", 4), "data_version": ("--data-version", "2.0.0")},
    "evaluate": {
        "fold": ("--fold", "1/2"),
        "protocols": ("--protocol", "corm2022"),
        "sigma": ("--sigma", "0.5"),
        "corruptions": ("--corruption", "fill_gray"),
        "controls": ("--no-controls",),
        "single_features": ("--single-features",),
        "trials": ("--protocol", "corm2022", "--trials", 2),
        "boxes": ("--boxes",),
        "frame": ("--frame", "store"),
        "top_k": ("--top-k", 2),
        "batch_size": ("--batch-size", 7),
        "seed": ("--seed", 1),
    },
    "align": {
        "fold": ("--fold", "1/2"),
        "saliency": ("--saliency", "input_x_gradient"),
        "layer": ("--layer", "image"),
        "batch_size": ("--batch-size", 7),
    },
    "retrain-head": {
        "fold": ("--fold", "1/2"),
        "seed": ("--choose", "random", "--seed", 1),
        "choose": ("--choose", "most"),
        "most": ("--most", 1),
        "decay": ("--decay", 0.1),
        "batch_size": ("--batch-size", 7),
    },
    "finetune": {
        "fold": ("--fold", "1/2"),
        "seed": ("--seed", 1),
        "loss": ("--loss", "l1"),
        "weight": ("--loss-weight", 1),
        "method": ("--saliency", "grad_cam"),
        "layer": ("--layer", "net.body.3"),
        "epochs": ("--epochs", 2),
        "batch_size": ("--batch-size", 20),
        "learning_rate": ("--learning-rate", 1e-2),
        "weight_decay": ("--weight-decay", 0.5),
        "flip": ("--no-flip",),
    },
    "sis": {
        "fold": ("--fold", "1/2"),
        "selection": ("--step", 1, "--selection", "backward"),
        "cell": ("--cell", 28),
        "step": ("--step", 8),
        "fill": ("--fill", "0,0,1"),
        "wrong_class": ("--no-wrong-class",),
        "tau": ("--tau", 0.14),
        "border": ("--border", 6),
        "batch_size": ("--batch-size", 7),
        "seed": ("--seed", 1),
    },
    "sis-retrain": {
        "share": ("--share", 0.5),
        "border": ("--border", 6),
        "test_fold": ("--test-fold", "2/2"),
        "epochs": ("--epochs", 2),
        "batch_size": ("--batch-size", 4),
        "learning_rate": ("--learning-rate", 0.01),
        "widths": ("--widths", "4,6"),
        "stem_stride": ("--stem-stride", 1),
        "seed": ("--seed", 1),
    },
    "train": {
        "resize": ("--resize", 36),
        "crop": ("--crop", 24),
        "epsilon": ("--epsilon", 0),
        "steps": ("--steps", 2),
        "epochs": ("--epochs", 2),
        "batch_size": ("--batch-size", 8),
        "learning_rate": ("--learning-rate", 0.1),
        "widths": ("--widths", "4,8"),
        "blocks": ("--blocks", 2),
        "shift": ("--shift", 0),
        "input_dropout": ("--input-dropout", 0.2),
        "stem_stride": ("--stem-stride", 2),
        "seed": ("--seed", 1),
        "split": ("--images", SPLITS, "--split", "test"),
        "test_split": ("--test-images", SPLITS, "--test-split", "train"),
        "correlation": (*SCENES, "--correlation", 0.1),
        "scene_seed": (*SCENES, "--scene-seed", 2),
        "head": (*FROM, "--head", "new"),
        "norm": (*FROM, "--norm", "linf"),
        "replays": (*FROM, "--replays", 2),
        "first_crop": (*FROM, "--epochs", 2, "--first-crop", 32),
        "area": (*FROM, "--area", 0.5),
        "warmup": (*FROM, "--warmup", 0),
        "weight_decay": (*FROM, "--weight-decay", 0.5),
        "average": (*FROM, "--average", 0),
        "statistics": (*FROM, "--statistics", "kept"),
        "precision": (*FROM, "--precision", "bfloat16"),
        "attacked": (*FROM, "--epsilon", 0.1, "--attacked", 7),
    },
    "import-official": {
        "grid": ("--grid", "14x14"),
        "majority": ("--majority", 4),
        "resize": ("--resize", 64),
        "crop": ("--crop", 55),
        "feature_count": ("--feature-count", 17),
        "split": ("--split", "val"),
        "data_version": ("--data-version", "2.0.0"),
    },
    "export": {"repo": ("--repo", "org/other")},
}
BESIDE = {  # what the option is compared with, where it is not the command alone
    ("build", "edition"): ("--top-images", 1),
    ("build", "resize"): (*PLAIN, "--resize", 64, "--crop", 56),
    ("build", "crop"): (*PLAIN, "--resize", 64, "--crop", 56),
    ("train", "split"): ("--images", SPLITS),
    ("train", "test_split"): ("--test-images", SPLITS),
    ("train", "correlation"): SCENES,
    ("train", "scene_seed"): SCENES,
    **dict.fromkeys(
        [
            ("train", name)
            for name in (
                "head",
                "norm",
                "replays",
                "area",
                "warmup",
                "weight_decay",
                "average",
                "statistics",
            )
        ],
        FROM,
    ),
    ("train", "precision"): FROM,
    ("train", "first_crop"): (*FROM, "--epochs", 2),
    ("train", "attacked"): (*FROM, "--epsilon", 0.1),
    ("evaluate", "trials"): ("--protocol", "corm2022"),
    ("retrain-head", "seed"): ("--choose", "random"),
    ("sis", "selection"): ("--step", 1),
}
SAME = {(name, "batch_size") for name in ("build", "align", "evaluate", "retrain-head", "sis")}
"""Changed, they must change no figure but by rounding: the sums of floats are over other numbers of images."""
REFUSED = {("build", "weights_sha256"), ("import-official", "crop"), ("import-official", "feature_count")}
"""That are held against what is there."""


def digest(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def done() -> dict[tuple[object, ...], Any]:
    """Outcomes of commands as they stand, each run once."""
    return {}


@pytest.fixture(scope="module")
def divided(bare_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of five people, of whom two call everything the object."""
    path = tmp_path_factory.mktemp("divided") / "answers.csv"
    two = ("p0", "p1")
    given = [dataclasses.replace(a, answer=MAIN_OBJECT) if a.annotator in two else a for a in answers_for(bare_store)]
    write_annotations(path, given)
    return path


@pytest.fixture(scope="module")
def others(
    divided: Path, store: Store, images: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What some commands need beside the tests' own store, images and weights."""
    folder = tmp_path_factory.mktemp("others")
    for number, path in enumerate(sorted(images.glob("*/*"))):  # one of four is for testing
        copy = folder / "splits" / ("train" if number % 4 else "test") / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), folder / "resnet18.pt")
    answers = [
        Answer(f"p{person}", WNIDS[k], k, feature, rank, "main_object" if person < 2 else "background", 4, "so")
        for k, features in FEATURES.items()
        for rank, feature in enumerate(features, start=1)
        for person in range(5)
    ]
    write_annotations(folder / "release.csv", answers)
    (opener,) = open_networks(store, weights=[str(weights)]).values()
    select(opener(), store, images, folder / "orders", Choice(cell=14, step=4, wrong_class=False))
    return {
        "answers": divided,
        "orders": folder / "orders",
        SPLITS: folder / "splits",
        WEIGHTS: folder / "resnet18.pt",
        "release": write_zip(folder / "release.zip", release()),
        "release answers": folder / "release.csv",
    }


def outcome(
    name: str, extra: tuple[object, ...], run: Run, folder: Path, given: dict[str, Any]
) -> tuple[int, Any, dict[str, Any]]:
    """Exit status, what a command made or said, and the figures in it that a batch size must leave."""
    store, images, weights = given["store"], given["images"], given["weights"]
    named = {SPLITS: given[SPLITS], WEIGHTS: given[WEIGHTS], NETWORK: weights}
    extra = tuple(named.get(str(word), word) for word in extra)
    if name == "build":
        how = ("--group-by", "label", "--top-features", 4, "--annotations", given["answers"], "--trust-annotations")
        code, _, _ = run(name, "--images", images, "--weights", weights, "--out", folder / "s", *how, *extra)
        if code or not (folder / "s" / "manifest.json").exists():
            return code, None, {}
        made = Store(folder / "s")
        return code, digest(folder / "s"), {"maps": np.asarray(made.maps), "kinds": [f.kind for f in made.features]}
    if name == "annotations":
        code, out, _ = run(name, given["answers"], *extra)
        return code, out, {}
    if name == "import-official":
        how = ("--annotations", given["release answers"], "--resize", 60, "--crop", 56, "--processes", 1)
        code, _, err = run(name, given["release"], "--out", folder / "s", *how, *extra)
        return code, err if code else digest(folder / "s"), {}
    if name == "apply":
        copy = Path(shutil.copytree(given["bare"], folder / "s"))
        code, out, err = run(name, copy, given["answers"], *extra)
        return code, (out or err, digest(copy)), {}
    if name == "sis-retrain":
        small = ("--epochs", 1, "--widths", "4,4", "--stem-stride", 2, "--batch-size", 16, "--test-fold", "1/2")
        code, out, err = run(name, store, given["orders"], "--images", images, "--json", *small, *extra)
        return code, out or err, {}
    if name in ("evaluate", "align", "sis"):
        how = () if name == "align" else ("--out", folder / "e")
        how += ("--cell", 14, "--step", 4, "--tau", 0.1) if name == "sis" else ()
        code, out, _ = run(name, store, "--images", images, "--weights", weights, "--json", *how, *extra)
        (result,) = json.loads(out).values()
        written = [p.stat().st_size for p in sorted((folder / "e").rglob("*.parquet"))]
        orders = digest(folder / "e") if name == "sis" else {}
        return code, (result, written, orders), {"figures": result}
    if name in ("retrain-head", "finetune", "train"):
        where = (store, "--images", images, "--weights", weights)
        if name == "train":
            small = ("--crop", 32, "--epochs", 1, "--batch-size", 16)
            small = (*small, "--crop", 64) if "--from" in extra else (*small, "--widths", "4,4", "--blocks", 1)
            where = (*(() if "--scenes" in extra else ("--images", images)), *small)
        folder.mkdir(parents=True, exist_ok=True)
        code, out, err = run(name, *where, "--out", folder / "w.safetensors", *extra)
        return code, (digest(folder) or err, out.replace(str(folder), "")), {"line": out.partition(": ")[2]}
    code, _, _ = run(name, store, "--out", folder / "x", *extra)
    return code, digest(folder / "x"), {}


def alike(a: Any, b: Any) -> bool:
    """Equal, floats to 1e-4 and maps to one step."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a if key not in ("batch_size", "settings"))
    if isinstance(a, list):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return bool(np.abs(a.astype(int) - b.astype(int)).max() <= 1)
    return bool(abs(a - b) < 1e-4) if isinstance(a, float) else bool(a == b)


def test_every_option_of_every_command_is_in_one_of_the_lists() -> None:
    for name, command in cli.commands.items():
        lists: list[Collection[str]] = [table.get(name, ()) for table in (RUN_ONLY, INPUTS, ELSEWHERE, CHANGES)]
        assert sorted(option for listed in lists for option in listed) == sorted(str(p.name) for p in command.params), (
            name
        )
    assert {*RUN_ONLY, *INPUTS, *ELSEWHERE, *CHANGES} == set(cli.commands)


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in ELSEWHERE for option in ELSEWHERE[name]])
def test_an_option_that_is_tested_elsewhere_is_given_there(name: str, option: str) -> None:
    (flag,) = next(p.opts for p in cli.commands[name].params if p.name == option)
    text = (Path(__file__).parents[1] / ELSEWHERE[name][option]).read_text()
    assert f'"{flag}"' in text or f"{flag} " in text


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in CHANGES for option in CHANGES[name]])
def test_an_option_that_is_changed_changes_the_result(
    name: str,
    option: str,
    store: Store,
    bare_store: Store,
    images: Path,
    weights: Path,
    others: dict[str, Path],
    tmp_path: Path,
    run: Run,
    done: dict[tuple[object, ...], Any],
) -> None:
    given = {"store": store.path, "bare": bare_store.path, "images": images, "weights": weights, **others}
    beside = BESIDE.get((name, option), ())
    if (name, beside) not in done:
        done[name, beside] = outcome(name, beside, run, tmp_path / "before", given)
    before, after = done[name, beside], outcome(name, CHANGES[name][option], run, tmp_path / "after", given)
    assert before[0] == 0 and after[0] == (2 if (name, option) in REFUSED else 0), after[1]
    if (name, option) in SAME:
        assert alike(before[2], after[2])
    else:
        assert before[1] != after[1], f"{name}: {CHANGES[name][option]} changed nothing"

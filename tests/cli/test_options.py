"""No option is lost on its way: each one of each command, changed, changes what the command makes or says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Collection
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
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.names import MAIN_OBJECT
from salient_imagenet_data.networks.opening import open_networks
from salient_imagenet_data.ranking.left_out import LeftOut
from salient_imagenet_data.store.reading import Store
from tests.cli.options import (
    BESIDE,
    BOXES,
    CHANGES,
    ELSEWHERE,
    INPUTS,
    LEFT_OUT,
    NETWORK,
    REFUSED,
    RUN_ONLY,
    SAME,
    SPLITS,
    WEIGHTS,
)
from tests.conftest import Run, answers_for
from tests.release_files import FEATURES, WNIDS, release, write_zip


def digest(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def ids_outside(fold: Fold, store: Store) -> list[str]:
    ids = store.rows.image_ids.to_pylist()
    return [image_id for image_id, inside in zip(ids, fold.holds(ids), strict=True) if not inside]


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
    (folder / "left_out.txt").write_text("\n".join(ids_outside(Fold(1, 2), store)) + "\n")
    answers = [
        Answer(f"p{person}", WNIDS[k], k, feature, rank, "main_object" if person < 2 else "background", 4, "so")
        for k, features in FEATURES.items()
        for rank, feature in enumerate(features, start=1)
        for person in range(5)
    ]
    write_annotations(folder / "release.csv", answers)
    boxes = [f"{image_id},0,0,30,20" for image_id in store.rows.image_ids.to_pylist()[::2]]
    (folder / "boxes.csv").write_text("\n".join(["image,left,top,right,bottom", *boxes]) + "\n")
    (opener,) = open_networks(store, weights=[str(weights)]).values()
    select(opener(), store, images, folder / "orders", Choice(cell=14, step=4, wrong_class=False))
    return {
        "answers": divided,
        "orders": folder / "orders",
        SPLITS: folder / "splits",
        WEIGHTS: folder / "resnet18.pt",
        BOXES: folder / "boxes.csv",
        LEFT_OUT: folder / "left_out.txt",
        "release": write_zip(folder / "release.zip", release()),
        "release answers": folder / "release.csv",
    }


def outcome(
    name: str, extra: tuple[object, ...], run: Run, folder: Path, given: dict[str, Any]
) -> tuple[int, Any, dict[str, Any]]:
    """Exit status, what a command made or said, and the figures in it that a batch size must leave."""
    store, images, weights = given["store"], given["images"], given["weights"]
    named = {name: given[name] for name in (SPLITS, WEIGHTS, BOXES, LEFT_OUT)} | {NETWORK: weights}
    extra = tuple(named.get(str(word), word) for word in extra)
    if any(param.name == "device" for param in cli.commands[name].params):
        extra = (*extra, "--device", "cpu")  # figures are compared to the last digits
    if name == "build":
        how = ("--group-by", "label", "--top-features", 4, "--annotations", given["answers"], "--trust-annotations")
        how = (
            *how,
            "--attacked",
            0,
            *extra,
        )  # what attacks the network takes most of the time, and has tests of its own
        code, _, _ = run(name, "--images", images, "--weights", weights, "--out", folder / "s", *how)
        if code or not (folder / "s" / "manifest.json").exists():
            return code, None, {}
        made = Store(folder / "s")
        return code, digest(folder / "s"), {"maps": np.asarray(made.maps), "kinds": [f.kind for f in made.features]}
    if name == "annotations":
        code, out, _ = run(name, given["answers"], *extra)
        return code, out, {}
    if name == "import-official":
        how = ("--annotations", given["release answers"], "--resize", 60, "--crop", 56, "--workers", 1)
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
    if name in ("evaluate", "align", "sis", "certify"):
        how = () if name in ("align", "certify") else ("--out", folder / "e")
        how += ("--cell", 14, "--step", 4, "--tau", 0.1) if name == "sis" else ()
        code, out, _ = run(name, store, "--images", images, "--weights", weights, "--json", *how, *extra)
        (result,) = json.loads(out).values()
        written = [p.stat().st_size for p in sorted((folder / "e").rglob("*.parquet"))]
        orders = digest(folder / "e") if name == "sis" else {}
        return code, (result, written, orders), {"figures": result}
    if name == "relevance":
        code, out, _ = run(name, store, "--images", images, "--weights", weights, "--json", *extra)
        return code, out, {"figures": json.loads(out)}
    if name == "spurious-score":
        code, out, _ = run(name, "--images", images, "--spurious", images, "--weights", weights, "--json", *extra)
        return code, out, {"figures": json.loads(out)}
    if name in ("retrain-head", "finetune", "spufix", "train"):
        where = (store, "--images", images, "--weights", weights)
        if name == "train":
            small = ("--crop", 32, "--epochs", 1, "--batch-size", 16)
            small = (*small, "--crop", 64) if "--from" in extra else (*small, "--widths", "4,4", "--blocks", 1)
            where = (*(() if "--scenes" in extra else ("--images", images)), *small)
        folder.mkdir(parents=True, exist_ok=True)
        code, out, err = run(name, *where, "--out", folder / "w.safetensors", *extra)
        said = {"line": out.partition(": ")[2], "told": [line for line in err.splitlines() if "left out on" in line]}
        for record in folder.glob("*.finetune.json"):  # repeats what was given
            said["left_out"] = json.loads(record.read_text())["left_out"]
            record.unlink()
        return code, (digest(folder) or err, out.replace(str(folder), "")), said
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


Made = Callable[[str, tuple[object, ...]], tuple[int, Any, dict[str, Any]]]


@pytest.fixture
def made(
    store: Store,
    bare_store: Store,
    images: Path,
    weights: Path,
    others: dict[str, Path],
    tmp_path: Path,
    run: Run,
    done: dict[tuple[object, ...], Any],
) -> Made:
    """`outcome` of a command with some options, of each once."""
    given = {"store": store.path, "bare": bare_store.path, "images": images, "weights": weights, **others}

    def of(name: str, extra: tuple[object, ...]) -> tuple[int, Any, dict[str, Any]]:
        if (name, extra) not in done:
            done[name, extra] = outcome(name, extra, run, tmp_path / str(len(done)), given)
        found: tuple[int, Any, dict[str, Any]] = done[name, extra]
        return found

    return of


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in CHANGES for option in CHANGES[name]])
def test_an_option_that_is_changed_changes_the_result(name: str, option: str, made: Made) -> None:
    before, after = made(name, BESIDE.get((name, option), ())), made(name, CHANGES[name][option])
    assert before[0] == 0 and after[0] == (2 if (name, option) in REFUSED else 0), after[1]
    if (name, option) in SAME:
        assert alike(before[2], after[2])
    else:
        assert before[1] != after[1], f"{name}: {CHANGES[name][option]} changed nothing"


WITHIN = [name for name in CHANGES if {"fold", "leave_out"} <= CHANGES[name].keys() and name != "evaluate"]
"""Commands with both options; what `evaluate` leaves out may still be the other image of a control."""


@pytest.mark.parametrize("name", WITHIN)
def test_to_leave_out_what_a_fold_has_not_is_to_take_the_fold(name: str, made: Made, store: Store) -> None:
    """And says what was left out: in the JSON, or where weights are written in words, and in the record beside them."""
    facts = LeftOut(frozenset(ids_outside(Fold(1, 2), store))).facts(store.rows.image_ids.to_pylist())
    assert facts is not None and 0 < facts.images < len(store)
    (_, of_fold, fold), (_, of_rest, rest) = (made(name, CHANGES[name][option]) for option in ("fold", "leave_out"))
    if "told" in rest:
        assert of_rest == of_fold and rest["told"] == [facts.words] and fold["told"] == []
        assert rest.get("left_out", vars(facts)) == vars(facts) and fold.get("left_out") is None
    else:
        a, b = fold["figures"], rest["figures"]
        assert b["left_out"] == vars(facts) and a["left_out"] is None
        asked = dict.fromkeys(("fold", "left_out"))
        assert a | asked == b | asked

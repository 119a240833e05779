"""The commands that are killed, on tiny data: eight pictures of two classes, and a network of six features."""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.cli import cli
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel, save_smallnet
from salient_imagenet_data.store.reading import Store
from tests.kills import Command
from tests.release_files import release, write_zip

CLASSES = ("cat", "dog")
LOADED = (
    *("datasets", "jinja2", "pandas"),
    *(
        f"salient_imagenet_data.{name}"
        for name in (
            *("annotation.official", "annotation.restricting", "app.label.schema", "evaluation.evaluate"),
            *(
                "evaluation.report.page",
                "evaluation.sufficiency.sis",
                "formats.export",
                "hub.export",
                "official.importing",
            ),
        )
    ),
)
"""What the commands import when they are run: each child would do so anew, which takes longer than all else it does."""


def commands(data: Path) -> dict[str, Command]:
    """By name. data: a folder that holds what they read; made here where it is empty."""
    for name in LOADED:
        importlib.import_module(name)
    Image.init()  # Pillow's formats
    if not any(data.iterdir()):
        _make(data)
    known, other = data / "answers.csv", data / "others.csv"
    found = [
        _build(data, "build", edition="full"),
        _build(data, "build-top65", edition="top65"),
        _build(data, "build-pilot", edition="full", pilot=1),
        _build(data, "build-pilot-top65", edition="top65", pilot=1),
        _build(data, "build-known-pairs", answers=known, edition="full"),
        _build(data, "build-known-pairs-top65", answers=known, edition="top65"),
        _build(data, "overwrite", edition="full", over=data / "store"),
        _build(data, "overwrite-again", edition="top65", overwrite=True, over=data / "store"),
        _same(
            "apply",
            lambda f: shutil.copytree(data / "store", f / "store"),
            ("apply", "store", other),
            moved="store",
            majority=1,
        ),
        _same("export", None, ("export", data / "store"), moved="export.partial", out="export"),
        _same(
            "export-masks",
            None,
            ("export", data / "store", "--images", data / "images"),
            moved="export.partial",
            out="export",
            format="fiftyone",
        ),
        Command(
            "import-official",
            _nothing,
            partial(_cli, *_IMPORT, data / "release.zip", "--out", "store"),
            partial(_cli, *_IMPORT, data / "release.zip", "--resume", "--out", "store"),
            _anew(partial(_cli, *_IMPORT, data / "release.zip", "--out", "store")),
        ),
        _same(
            "evaluate",
            None,
            ("evaluate", data / "store", "--images", data / "images", "--weights", data / "robust.safetensors"),
            anew=("--overwrite",),
            out="report",
            device="cpu",
        ),
        _same(
            "sis",
            None,
            ("sis", data / "store", "--images", data / "images", "--weights", data / "robust.safetensors"),
            anew=("--overwrite",),
            cell=4,
            step=4,
            out="sis",
            device="cpu",
        ),
    ]
    return {command.name: command for command in found}


_IMPORT = ("import-official", "--resize", "60", "--crop", "56", "--workers", "1")


def _nothing(folder: Path) -> None:
    """Needs nothing but the data."""


def _build(
    data: Path,
    name: str,
    *,
    edition: str,
    answers: Path | None = None,
    over: Path | None = None,
    overwrite: bool = False,
    pilot: int = 0,
) -> Command:
    """A build into `store`. over: a store of other weights that is there before. overwrite: then run with that again,
    not with --resume. pilot: images a class, which choose two candidates of six features."""

    def run(folder: Path, **how: bool) -> None:
        model, sha256 = load_model(data / ("other.safetensors" if over else "robust.safetensors"))
        config = BuildConfig(
            group_by="label",
            top_features=2,
            top_images=2,
            shard_rows=4,
            batch_size=4,
            majority=1,
            edition=edition,  # type: ignore[arg-type]
        )
        build(
            FolderSource(data / "images"),
            model,
            folder / "store",
            weights_sha256=sha256,
            annotations=read_annotations(answers) if answers else None,
            config=config,
            run=RunConfig(1, "cpu", pilot=pilot, candidates=2),
            **how,
        )

    def again(folder: Path) -> None:
        """With --resume, and as the message says where overwriting had not begun."""
        try:
            run(folder, resume=True)
        except SalientError as error:
            if over is None or not re.search("a finished store of other input; .*; use --overwrite$", str(error)):
                raise
            run(folder, overwrite=True)

    def prepare(folder: Path) -> None:
        if over is not None:
            shutil.copytree(over, folder / "store")

    first = partial(run, overwrite=over is not None)
    return Command(name, prepare, first, first if overwrite else again, _anew(run))


def _anew(run: Callable[[Path], object]) -> Callable[[Path], None]:
    """What the message says: the folder is removed by hand."""

    def both(folder: Path) -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        run(folder)

    return both


def _same(
    name: str,
    prepare: Callable[[Path], object] | None,
    arguments: tuple[object, ...],
    anew: tuple[str, ...] = (),
    moved: str = "",
    **options: object,
) -> Command:
    """A command that goes on when it is given again as it was. anew: options added where it refuses to.
    moved: the folder that is moved away then, and made or copied again."""
    more = [word for key, value in options.items() for word in (f"--{key}", value)]
    run = partial(_cli, *arguments, *more)

    def without(folder: Path) -> None:
        shutil.rmtree(folder / moved)
        (prepare or _nothing)(folder)
        run(folder)

    other = without if moved else partial(_cli, *arguments, *more, *anew) if anew else None
    return Command(name, prepare or _nothing, run, run, other)


def _cli(*arguments: object) -> None:
    """The command line in a child of its own, in the folder that is given last. Raises SalientError where it ends with
    another status than 0, having said why."""
    *words, folder = arguments
    os.chdir(str(folder))
    status = cli.main(args=[str(word) for word in words], standalone_mode=False)
    if status:
        raise SalientError(f"{words[0]} ended with status {status}")


def _make(data: Path) -> None:
    for label, name in enumerate(CLASSES):
        (data / "images" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng((label, number)).integers(0, 256, (18, 18, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / "images" / name / f"{number}.png")
    for seed, name in enumerate(("robust", "other")):
        torch.manual_seed(seed)
        net = SmallNet(SmallNetConfig(len(CLASSES), (4, 4, 6), 1, 1))
        save_smallnet(SmallNetModel(net, Preprocessing(16, 16), CLASSES), data / f"{name}.safetensors")
    write_zip(data / "release.zip", release())
    _build(data, "", edition="full").first(data)
    features = Store(data / "store").features
    for name, words in (("answers", ("main_object", "background")), ("others", ("background", "main_object"))):
        rows = [
            Answer("p", f.class_name, f.class_index, f.feature_index, f.rank, words[f.rank - 1], 4, "")
            for f in features
        ]
        write_annotations(data / f"{name}.csv", rows)
    cli.main(args=["apply", str(data / "store"), str(data / "answers.csv"), "--majority", "1"], standalone_mode=False)

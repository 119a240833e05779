"""The command study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import (
    FOLDER,
    JSON,
    LEAVE_OUT,
    OUTPUTS,
    cli,
    fold_of,
    in_json,
    left_out_of,
    tell,
)
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options
from salient_imagenet_data.evaluation.study.methods import FAMILIES, NAMES

if TYPE_CHECKING:
    from salient_imagenet_data.evaluation.study.run import Opening

SEEDS, QUICK_SEEDS, OWN_SEEDS = 5, 2, 1
FOLDS = "1/2", "2/2"


@cli.command()
@click.argument("store", required=False)
@images_options(help=f"Of the store. {IMAGES}")
@click.option("--model", "models", multiple=True, metavar="SPEC", help="To begin with, as of `evaluate`; repeat.")
@click.option("--weights", multiple=True, help="Of the models, as of `evaluate`; repeat.")
@click.option("--architecture", help="Network of --weights alone, as of `evaluate`.")
@click.option("--class-names", "outputs", multiple=True, metavar="FILE", help=OUTPUTS)
@click.option("--name", "names", multiple=True, help="What a model is called; one for each, in order.")
@click.option("--train-fold", metavar="N/M", help=f"Of the store's images, to train on.  [default: {FOLDS[0]}]")
@click.option("--test-fold", metavar="N/M", help=f"Of the store's images, to measure on.  [default: {FOLDS[1]}]")
@LEAVE_OUT
@click.option("--out", type=FOLDER, required=True, help="Folder for all it makes; the same command goes on with it.")
@click.option(
    "--methods",
    metavar="NAME,...",
    help=f"Only these: {', '.join(NAMES)}; or all of a kind: {', '.join(FAMILIES)}.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1),
    help=f"Repetitions.  [default: {SEEDS}; {QUICK_SEEDS} if quick; {OWN_SEEDS} with a store]",
)
@click.option("--quick", is_flag=True, help="One weight of each loss; on the scenes fewer seeds and images too.")
@click.option(
    "--sigma", type=click.FloatRange(0, 1, min_open=True), help="Of the noise.  [default: 0.5; 0.25 with a store]"
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Of the methods that train a whole network.  [default: 0.001; 0.0001 with a store]",
)
@click.option("--processes", type=click.IntRange(1), help="That compute at once.  [default: as many as cores]")
@click.option("--device", default="cpu", help="What computes, by torch's name of the device.")
@JSON
def study(
    store: str | None,
    images: GivenImages | None,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    architecture: str | None,
    outputs: tuple[str, ...],
    names: tuple[str, ...],
    train_fold: str | None,
    test_fold: str | None,
    leave_out: Path | None,
    out: Path,
    methods: str | None,
    seeds: int | None,
    quick: bool,
    sigma: float | None,
    learning_rate: float | None,
    processes: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Train networks in every way there is, measure them in every way, and say which measure orders them rightly.

    Without a STORE on the embedded scenes, where it is known how far a network leans on a cue. With one, on its images
    and your networks: then nobody knows, and the report says which measures agree.
    """
    from salient_imagenet_data.evaluation.study.methods import methods_of
    from salient_imagenet_data.evaluation.study.page import study_of, write_study
    from salient_imagenet_data.evaluation.study.plan import Plan
    from salient_imagenet_data.evaluation.study.run import cores
    from salient_imagenet_data.evaluation.study.run import study as run_study
    from salient_imagenet_data.evaluation.study.words import lines
    from salient_imagenet_data.networks.devices import check_device

    chosen = methods_of([name.strip() for name in methods.split(",")] if methods else ())
    own = store is not None
    plan = Plan(
        sigma=sigma or (0.25 if own else 0.5),
        learning_rate=learning_rate or (1e-4 if own else 1e-3),
        weights=1 if quick else 2,
        device=check_device(device),
    )
    opening: Opening
    if store is None:
        _refuse(images=images, model=models, weights=weights, architecture=architecture, class_names=outputs)
        _refuse(name=names)
        _refuse(train_fold=train_fold, test_fold=test_fold, leave_out=leave_out)
        opening = _scenes(out, seeds, quick)
    else:
        if images is None:
            raise click.UsageError("with a STORE give its --images")
        from salient_imagenet_data.evaluation.study.own import StoreOpening
        from salient_imagenet_data.store.reading import Store

        left_out = left_out_of(leave_out, Store(store))
        train, test = fold_of(train_fold or FOLDS[0]), fold_of(test_fold or FOLDS[1])
        given = models, weights, architecture, outputs, names or None
        opening = StoreOpening(store, images.place, *given, images.layout, seeds or OWN_SEEDS, train, test, left_out)
    rows = run_study(opening, out, chosen, plan, processes=processes or cores(), report=tell)
    found = study_of(rows, plan, opening.about)
    page = write_study(found, out)
    if as_json:
        click.echo(in_json(found.to_json()))
        return
    if found.left_out:
        click.echo(found.left_out)
    for line in lines(found.headline, found.methods):
        click.echo(line)
    click.echo(f"{len(rows)} rows, {len(found.failed)} of methods that could not be used; see {page}")


def _refuse(**given: Any) -> None:
    """Of options that say nothing without a store."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if named:
        raise click.UsageError(f"{', '.join(named)}: give a STORE with it; the scenes have their own")


def _scenes(out: Path, seeds: int | None, quick: bool) -> Opening:
    from salient_imagenet_data.demo.study import QUICK, Counts, ScenesOpening

    return ScenesOpening(out, seeds or (QUICK_SEEDS if quick else SEEDS), QUICK if quick else Counts())

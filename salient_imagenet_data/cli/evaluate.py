"""Commands of the evaluation: evaluate = infer + score, score other people's predictions, where a model looks."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from salient_imagenet_data.cli.commands import (
    ARCHITECTURE,
    DEVICE,
    FILE,
    FOLD,
    FOLDER,
    JSON,
    LEAVE_OUT,
    OUTPUTS,
    READINGS,
    SEED,
    WORKERS,
    batch_size_option,
    cli,
    in_json,
    left_out_of,
    numbers,
    options,
    settings_of,
    tell,
)
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options
from salient_imagenet_data.evaluation.plan.protocols import PROTOCOLS
from salient_imagenet_data.evaluation.saliency.methods import DEPTHS, METHODS
from salient_imagenet_data.loaders.corruption.records import FORMS
from salient_imagenet_data.networks.classes import Reading
from salient_imagenet_data.networks.words.asking import MOST, QUESTION, Asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from salient_imagenet_data.evaluation.numbers.estimates import Estimate
    from salient_imagenet_data.evaluation.run.predictions import PredictionsFile
    from salient_imagenet_data.evaluation.saliency.alignment import Alignment
    from salient_imagenet_data.evaluation.saliency.curves import Curves
    from salient_imagenet_data.evaluation.saliency.methods import Depth, Method
    from salient_imagenet_data.evaluation.score.results import Failure
    from salient_imagenet_data.folds import Fold
    from salient_imagenet_data.images.source import ImageSource
    from salient_imagenet_data.ranking.left_out import LeftOut
    from salient_imagenet_data.store.reading import Store


_MODELS = (
    click.argument("store"),
    images_options(required=True),
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="SPEC",
        help="timm:NAME, torchvision:NAME, hf:NAME, clip:NAME, vlm:hf:NAME or MODULE:FUNCTION; repeat for several.",
    ),
    click.option(
        "--weights",
        multiple=True,
        help="A file or hf://owner/name/file. With --model: its weights, one each. Alone: as of `train`; repeat.",
    ),
    ARCHITECTURE,
    click.option(
        "--class-names", "outputs", multiple=True, metavar="FILE", help=OUTPUTS + " One for each, or for all."
    ),
    FOLD,
    LEAVE_OUT,
    click.option("--skip-missing", is_flag=True, help="Leave out, and count, images not there or not decoding."),
    DEVICE,
    JSON,
)


models_options = options(_MODELS)
"""What a command needs that runs models over a store's images."""


@cli.command()
@models_options
@click.option("--name", "names", multiple=True, help="What a model is called in the report; one for each, in order.")
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(PROTOCOLS),
    multiple=True,
    default=("iclr2022",),
    help="Which conditions are measured; repeat for several.",
)
@click.option("--sigma", default="0.25", help="Noise levels on the [0, 1] scale, with commas.")
@click.option(
    "--corruption",
    "corruptions",
    multiple=True,
    help=f"Also this one, repeat for several: {', '.join(FORMS)}.",
)
@click.option("--controls/--no-controls", default=True, help="Also random regions and other images' masks.")
@click.option("--single-features", is_flag=True, help="Also noise on one feature at a time.")
@click.option("--trials", type=click.IntRange(1, 10), default=1, help="Of the noise, for RCS and RFS.")
@click.option("--boxes", is_flag=True, help="Also the bounding boxes of the regions.")
@click.option(
    "--classes", type=click.Choice(get_args(Reading)), default="all", help="Among what a network answers: " + READINGS
)
@click.option(
    "--question", help=f"What vlm:hf:NAME is asked about each class, with {{}} for its name.  [default: {QUESTION}]"
)
@click.option(
    "--most-classes",
    type=click.IntRange(1),
    help=f"How many classes vlm:hf:NAME may be asked about, each by itself, for each image.  [default: {MOST}]",
)
@click.option("--frame", type=click.Choice(["model", "store"]), default="model", help="Whose resize and crop.")
@click.option("--out", type=FOLDER, help="Folder for predictions and report; the same command goes on with it.")
@click.option("--overwrite", is_flag=True, help="Run again what --out holds.")
@click.option("--top-k", type=click.IntRange(0), default=5, help="Classes that are kept of each answer; 0 keeps all.")
@batch_size_option(64)
@WORKERS
@SEED
def evaluate(
    store: str,
    images: GivenImages,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    architecture: str | None,
    outputs: tuple[str, ...],
    names: tuple[str, ...],
    protocols: tuple[str, ...],
    sigma: str,
    corruptions: tuple[str, ...],
    controls: bool,
    single_features: bool,
    boxes: bool,
    trials: int,
    fold: Fold,
    classes: Reading,
    question: str | None,
    most_classes: int | None,
    frame: str,
    leave_out: Path | None,
    out: Path | None,
    overwrite: bool,
    top_k: int,
    batch_size: int,
    workers: int,
    seed: int,
    skip_missing: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how much classifiers rely on core and on spurious pixels, with controls."""
    from salient_imagenet_data.evaluation.evaluate import earlier, run_models
    from salient_imagenet_data.evaluation.plan.plan import Conditions
    from salient_imagenet_data.evaluation.report.page import REPORT_PAGE
    from salient_imagenet_data.networks.opening import open_networks
    from salient_imagenet_data.pictures.page import check_page
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    source = images.of(opened)
    levels = numbers(sigma, float, "--sigma")
    conditions = Conditions(protocols, levels, corruptions, controls, single_features, boxes, trials)
    plan = conditions.plan(opened, fold, left_out)
    given = question is not None or most_classes is not None
    openers = open_networks(
        opened,
        models,
        weights,
        architecture,
        own_preprocessing=frame == "model",
        names=names or None,
        outputs=outputs,
        asking=Asking(QUESTION if question is None else question, most_classes or MOST) if given else None,
    )
    if out is not None:
        check_page(out / REPORT_PAGE)  # before hours of inference
    settings = settings_of(
        batch_size, workers, device, skip_missing, fold, left_out, seed=seed, top_k=top_k or None, classes=classes
    )
    with tempfile.TemporaryDirectory() as scratch:
        files, failed = run_models(
            openers,
            opened,
            source,
            plan,
            (out or Path(scratch)) / "predictions",
            settings,
            overwrite=overwrite,
            report=tell,
        )
    if not files:
        raise click.exceptions.Exit(2)
    if out is not None:  # the page is of all that the folder holds, this run's models first
        files += earlier(out / "predictions", files, opened, tell)
    _finish(files, failed, opened, out, source, as_json, list(plan.protocols), left_out)
    if failed:
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("store")
@click.argument("predictions", type=FILE, nargs=-1, required=True)
@images_options(help="To show images in the report. " + IMAGES)
@LEAVE_OUT
@click.option("--out", type=FOLDER, help="Folder for the report.")
@JSON
def score(
    store: str,
    predictions: tuple[Path, ...],
    images: GivenImages | None,
    leave_out: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score predictions files, of `evaluate` or of anybody; needs no torch."""
    from salient_imagenet_data.evaluation.run.predictions import read_predictions
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    files = [read_predictions(path, len(opened.class_names)) for path in predictions]
    _finish(files, [], opened, out, None if images is None else images.of(opened), as_json, None, left_out)


@cli.command()
@models_options
@click.option("--saliency", type=click.Choice(METHODS), default="grad_cam", help="Where the classifier looks.")
@click.option("--layer", help="Module to look at, or `image`.  [default: the last grid for grad_cam, else image]")
@click.option("--depth", type=click.Choice(DEPTHS), help="How deep to look, instead of naming a layer.")
@click.option(
    "--curves", type=click.IntRange(0), default=0, help="Also insertion and deletion, in so many steps of the pixels."
)
@batch_size_option(32)
@WORKERS
def align(
    store: str,
    images: GivenImages,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    architecture: str | None,
    outputs: tuple[str, ...],
    saliency: Method,
    layer: str | None,
    depth: Depth | None,
    curves: int,
    fold: Fold,
    leave_out: Path | None,
    batch_size: int,
    workers: int,
    skip_missing: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how far classifiers look at the core masks: saliency maps against the masks.

    Mass, the energy pointing game, and IoU also on the spurious masks and on what is neither; cover is the mass of a
    map that is the same everywhere.
    """
    from salient_imagenet_data.evaluation.plan.plan import left_out_in
    from salient_imagenet_data.evaluation.saliency.alignment import align as align_model
    from salient_imagenet_data.evaluation.score.records import to_json
    from salient_imagenet_data.folds import WHOLE
    from salient_imagenet_data.networks.classifiers import told
    from salient_imagenet_data.networks.opening import open_networks
    from salient_imagenet_data.store.reading import Store

    def some(figures: Alignment | Curves) -> dict[str, Estimate | None]:
        """By name, without the curves; None where no image has the figure, as without spurious features."""
        return {key: e if e.n else None for key, e in vars(figures).items() if key != "curves"}

    def plain(figures: Alignment | Curves) -> dict[str, Any]:
        return {key: e and dataclasses.asdict(e) for key, e in some(figures).items()}

    opened = Store(store)
    left_out = left_out_of(leave_out, opened)
    source = images.of(opened)
    settings = settings_of(batch_size, workers, device, skip_missing, fold, left_out)
    facts = left_out_in(opened, fold, left_out)
    results = {}
    for name, opener in open_networks(opened, models, weights, architecture, outputs=outputs).items():
        classifier = opener()
        for line in told(classifier.details, classifier.preprocessing):
            tell(line)
        results[name] = align_model(
            classifier, opened, source, saliency=saliency, layer=layer, depth=depth, curves=curves, settings=settings
        )
    if as_json:
        part = ({} if fold == WHOLE else {"fold": str(fold)}) | {"left_out": to_json(facts)}
        drawn = {name: {"curves": plain(f.curves)} if f.curves else {} for name, f in results.items()}
        found = {name: part | plain(figures) | drawn[name] for name, figures in results.items()}
        click.echo(in_json(found))
        return
    click.echo(f"{'classifier':<28} {'figure':<18} {'n':>6}  {'value':>6}  95 % interval")
    for name, figures in results.items():
        for key, e in (some(figures) | (some(figures.curves) if figures.curves else {})).items():
            value = "no image has it" if e is None else f"{e.value:6.3f}  {e.interval}"
            click.echo(f"{Path(name).name[:28]:<28} {key:<18} {e.n if e else 0:>6}  {value}")
    if fold != WHOLE:
        click.echo(f"only fold {fold} of the images")
    if facts is not None:
        click.echo(facts.words)


def _finish(
    files: Sequence[PredictionsFile],
    failed: Sequence[Failure],
    store: Store,
    out: Path | None,
    source: ImageSource | None,
    as_json: bool,
    protocols: Sequence[str] | None,
    left_out: LeftOut,
) -> None:
    """Score, write the report where asked, and print."""
    from salient_imagenet_data.evaluation.report.table import table
    from salient_imagenet_data.evaluation.score.together import summarise

    summary = summarise(files, store, failed, left_out)
    if out is not None:
        from salient_imagenet_data.evaluation.report.page import write_report

        page = write_report(summary, out, store, source, left_out)
        tell(f"wrote {page}")
    if not as_json:
        click.echo(table(summary.models, summary.store.classes))
        if summary.store.fold != "1/1":
            click.echo(f"only fold {summary.store.fold} of the images")
        _tell_absent(store, protocols)
        return
    extra = {} if protocols is None else {"protocols": list(protocols)}
    results = {
        m.name: {"weights_sha256": m.model.get("weights_sha256"), **extra, **m.to_json()} for m in summary.models
    }
    click.echo(in_json(results))


def _tell_absent(store: Store, protocols: Sequence[str] | None) -> None:
    """Say which accuracy of "iclr2022" is not there, and why."""
    from salient_imagenet_data.evaluation.plan.regions import ACCURACY_OF
    from salient_imagenet_data.evaluation.plan.vocabulary import BY_KEY
    from salient_imagenet_data.names import KINDS

    for kind in KINDS:
        if not store.has(kind).any() and (protocols is None or "iclr2022" in protocols):
            tell(f"no class of {store.path} has a {kind} feature, so there is no {BY_KEY[ACCURACY_OF[kind]].name}")

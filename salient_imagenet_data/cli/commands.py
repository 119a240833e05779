"""The commands: thin faces over functions of the rooms."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from salient_imagenet_data.annotation.sheets import Attack
    from salient_imagenet_data.evaluation.run.settings import Settings
    from salient_imagenet_data.folds import Fold
    from salient_imagenet_data.joining import Missing
    from salient_imagenet_data.networks.classes import Reading
    from salient_imagenet_data.ranking.left_out import LeftOut
    from salient_imagenet_data.store.reading import Store


class _Place(click.Path):
    """A path that may begin at `~`, which a shell leaves as it is in `--option=~/x`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


PLACE = _Place(path_type=Path)
FOLDER = _Place(path_type=Path, file_okay=False)
FILE = _Place(path_type=Path, dir_okay=False)
VERSION = "Semantic version of the data, and its tag on the Hub: new data needs a new one."
DEVICE = click.option(
    "--device", help="What computes, by torch's name of the device.  [default: cuda if there is one, else cpu]"
)
ARCHITECTURE = click.option(
    "--architecture", help="Network of --weights alone: resnet50, torchvision:NAME or timm:NAME."
)
WORKERS = click.option("--workers", type=click.IntRange(0), default=0, help="Processes that read images.")
SEED = click.option("--seed", type=click.IntRange(0), default=0, help="Of all that is drawn at random.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
OUTPUTS = "Names of the network's outputs: a text with one a line, a JSON, or `imagenet`, in their order."
READINGS = "all classes that it knows, or the store's only."
FOLD = click.option(
    "--fold",
    default="1/1",
    metavar="N/M",
    callback=lambda context, parameter, text: fold_of(text),
    help="Only part N of M of the images, by a hash of their ids.",
)


def leave_out_option(which: str) -> Callable[[Any], Any]:
    """--leave-out. which: the images that the file names, in words."""
    return click.option(
        "--leave-out",
        type=FILE,
        help=f"{which}: a CSV with a column image_id, as of `label-errors`, or one id a line.",
    )


LEAVE_OUT = leave_out_option("Images that no figure is of")


SECTIONS = {
    "Look": ("demo", "look", "explore", "info", "verify"),
    "Build masks": ("train", "build", "import-official", "compare", "localise"),
    "Say what is core and what is spurious": (
        *("label", "sheets", "apply", "annotations", "name", "score-discovery", "export-answers", "import-answers"),
    ),
    "Measure what classifiers rely on": (
        *("evaluate", "score", "leaderboard", "overlap", "groups", "align", "relevance", "certify"),
        *("sis", "sis-retrain"),
        *("spurious-score", "label-errors", "study"),
    ),
    "Rely less on what is spurious": ("retrain-head", "finetune", "spufix"),
    "Hand masks on": ("export", "publish"),
}
"""What `--help` says of the commands, by what a person wants to do."""


class _Sections(click.Group):
    """Says of each command its whole first sentence, over several lines where it is long; by section."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(1000)) for name in names])


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="salient-imagenet-data")
def cli() -> None:
    """Core and spurious soft masks for image classification data sets: build, look, label, evaluate."""


@cli.command()
@click.option("--out", type=FOLDER, default=Path("demo"), help="Folder for all that is made.")
@click.option("--overwrite", is_flag=True, help="Replace a demo that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def demo(out: Path, overwrite: bool, as_json: bool) -> None:
    """Do the whole way on the embedded scenes, and check it against their truth."""
    from salient_imagenet_data.demo.page import words
    from salient_imagenet_data.demo.run import run

    result = run(out, overwrite=overwrite)
    click.echo(in_json(result.to_json()) if as_json else words(result, out))


@cli.command("annotations")
@click.argument("file", type=FILE)
@click.option("--majority", type=click.IntRange(1), default=3, help="Answers that make a feature spurious.")
@JSON
def annotations_command(file: Path, majority: int, as_json: bool) -> None:
    """Print what is in a file of answers."""
    from salient_imagenet_data.annotation.files import read_annotations
    from salient_imagenet_data.annotation.verdicts import summary

    _print(summary(read_annotations(file), majority), as_json)


@cli.command()
@click.argument("store")
@JSON
def info(store: str, as_json: bool) -> None:
    """Print what a store holds and how it was made."""
    import dataclasses

    from salient_imagenet_data.networks.classes import in_words
    from salient_imagenet_data.ranking.left_out import LeftOutFacts
    from salient_imagenet_data.store import describing
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    fields = dataclasses.asdict(opened.manifest)
    fields["files"] = len(fields["files"])
    if not as_json:
        fields["class_names"] = len(fields["class_names"])
        fields["likenesses"] = f"of {len(fields['likenesses'])} images"
        fields["sizes"] = f"{sum(fields['sizes'].values())} bytes"
        fields["robustness"] = fields["robustness"] or "not measured"
        fields["generalisation"] = describing.generalisation(opened.manifest)
        left_out = opened.manifest.left_out
        fields["left_out"] = LeftOutFacts(**left_out).words if left_out else "no image"
        fields["network"] = in_words(fields["network"])
    kinds: list[str | None] = [feature.kind for feature in opened.features]
    fields["features"] = {
        kind: kinds.count(value)
        for kind, value in (("core", "core"), ("spurious", "spurious"), ("without_answers", None))
    }
    fields["names"] = describing.names_json(opened) if as_json else describing.names(opened)
    counts = describing.counts(opened)
    fields["classes_with_masks"] = counts if as_json or counts else "not annotated yet, so no masks"
    _print(fields, as_json)


@cli.command()
@click.argument("store")
def verify(store: str) -> None:
    """Read every byte of a store and compare it with the manifest."""
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    opened.verify()
    copy = "" if Path(store).is_dir() else f" (the copy in {opened.path})"
    click.echo(f"{store}{copy}: {len(opened.manifest.files)} files, all as the manifest says")


def tell(line: str) -> None:
    """Say something on stderr."""
    click.echo(line, err=True)


def in_json(value: Any) -> str:
    """A result as JSON that a person can read too."""
    return json.dumps(value, indent=2)


def fold_of(text: str) -> Fold:
    """A fold of its text. Raises SalientError if it is none."""
    from salient_imagenet_data.folds import Fold

    return Fold.parse(text)


def left_out_of(file: Path | None, store: Store) -> LeftOut:
    """The images of a store that a file names, none without a file; others that it names are told. Raises SalientError
    for a file that names none of them, or all."""
    from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut

    if file is None:
        return NOTHING
    return LeftOut.read(file).among(store.rows.image_ids.to_pylist(), str(store.path), tell)


def settings_of(
    batch_size: int,
    workers: int,
    device: str | None,
    skip_missing: bool,
    fold: Fold,
    left_out: LeftOut,
    *,
    seed: int = 0,
    top_k: int | None = 5,
    classes: Reading = "all",
) -> Settings:
    """How the images are gone through, of the options of a command. Raises SalientError for no such device."""
    from salient_imagenet_data.evaluation.run.settings import Settings
    from salient_imagenet_data.networks.devices import check_device

    missing: Missing = "skip" if skip_missing else "error"
    return Settings(batch_size, workers, seed, check_device(device), top_k, missing, fold, left_out, classes)


def options(decorators: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """One decorator that gives a command several options, in that order."""

    def give(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return give


PICTURE = options(
    [
        click.option("--picture", type=FILE, help="PNG to write, of some images of the first model."),
        click.option("--overwrite-picture", is_flag=True, help="Replace a picture that is there."),
    ]
)


def check_picture(picture: Path | None, overwrite: bool) -> None:
    """Before the work is done: raises SalientError for a picture that could not be written, or a file that is there."""
    from salient_imagenet_data.whole_file import check_new

    if picture is not None:
        check_new(picture, overwrite, ending=".png", option="--picture", flag="--overwrite-picture")


def batch_size_option(default: int) -> Callable[[Any], Any]:
    """How many images go through a network at once, which changes the speed and the memory alone."""
    return click.option(
        "--batch-size", type=click.IntRange(1), default=default, help="Images that go through a network at a time."
    )


ATTACK = options(
    (
        click.option("--attack", help="Also show feature attacks, with these weights: those of the store."),
        click.option("--architecture", help="Network of a plain state dict, with --attack."),
        DEVICE,
    )
)
"""--attack, --architecture and --device."""


def attack_of(
    store: Store,
    weights: str | None,
    architecture: str | None,
    device: str | None,
    stop: Callable[[], bool] = bool,
) -> Attack | None:
    """What makes feature attacks with a store's network; None without weights. stop: says that none is wanted any more.
    Raises SalientError for other weights than the store's."""
    if weights is None:
        return None
    from salient_imagenet_data.builder.feature_attack import attacker
    from salient_imagenet_data.networks.devices import check_device
    from salient_imagenet_data.networks.robust import load_model

    manifest = store.manifest
    model, _ = load_model(
        weights, architecture=architecture, preprocessing=manifest.preprocessing, sha256=manifest.weights_sha256
    )
    on = check_device(device)
    return attacker(model.to(on), store.basis, device=on, stop=stop)


def numbers(text: str, kind: type[Any], option: str) -> tuple[Any, ...]:
    """Numbers with commas between. Raises BadParameter, naming the option."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers with commas between, got {text!r}", param_hint=option) from error


def _print(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(in_json(fields))
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name:<{width}}  {text}")

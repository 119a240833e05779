"""The commands that show what a store holds: photographs with their masks, in groups by their cue, and names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from salient_imagenet_data.cli.commands import DEVICE, FILE, JSON, LEAVE_OUT, cli, fold_of, in_json, left_out_of, tell
from salient_imagenet_data.cli.images import GivenImages, images_options
from salient_imagenet_data.names import KINDS, Kind

if TYPE_CHECKING:
    from salient_imagenet_data.looking import End


@cli.command()
@click.argument("store")
@images_options(required=True)
@click.option("--class", "classes", multiple=True, help="Only this class, by its name; repeat for several.")
@click.option("-n", "count", type=click.IntRange(1, 50), default=2, help="Photographs of each class.")
@click.option("--most-spurious", is_flag=True, help="Instead those that show the class's spurious features most.")
@click.option("--least-spurious", is_flag=True, help="Instead, or below these, those that show them least.")
@click.option("--out", type=FILE, default=Path("look.png"), help="PNG file to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def look(
    store: str,
    images: GivenImages,
    classes: tuple[str, ...],
    count: int,
    most_spurious: bool,
    least_spurious: bool,
    out: Path,
    overwrite: bool,
) -> None:
    """Show photographs with their core mask in blue and their spurious mask in orange.

    The photographs of a class are those that show its features most; without --class, of ten classes at most. Of
    --most-spurious and --least-spurious both may be given, for both ends of each class's ranking.
    """
    from salient_imagenet_data.joining import join
    from salient_imagenet_data.looking import choose, choose_ends, sheet, spuriosity_of
    from salient_imagenet_data.store.reading import Store
    from salient_imagenet_data.whole_file import check_new, whole_file

    check_new(out, overwrite, ending=".png")
    opened = Store(store)
    opened.kind_table  # noqa: B018 - says so now if the store is not annotated
    joined = join(opened, images.of(opened), missing="skip")
    if joined.missing:
        tell(f"{len(joined.missing)} of {len(opened)} images are not there and are left out")
    asked: dict[End, bool] = {"most": most_spurious, "least": least_spurious}
    ends = [end for end, wanted in asked.items() if wanted]
    scores = spuriosity_of(opened) if ends else None
    items = choose(joined, classes, count) if scores is None else choose_ends(joined, scores, ends, classes, count)
    picture = sheet(joined, items, scores=scores)
    with whole_file(out) as file:
        picture.save(file, format="PNG")
    shown = len({int(opened.rows.labels[joined.rows[item]]) for item in items})
    click.echo(f"wrote {out}: {len(items)} photographs of {shown} of {len(opened.class_names)} classes")


@cli.command()
@click.argument("store")
@click.argument("predictions", type=FILE, nargs=-1)
@click.option(
    "--shown",
    "rule",
    default="0.5",
    metavar="SHARE|split",
    help="The images of a class, by spuriosity, that show its cue.",
)
@click.option("--fold", metavar="N/M", help="Only this part of the images.  [default: that of the predictions, or all]")
@LEAVE_OUT
@click.option("--adjusted-to", "like", metavar="STORE", help="Also the mean by the sizes of the groups of this store.")
@click.option("--out", type=FILE, help="Also a CSV of the images: spuriosity, and whether the cue is shown.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@JSON
def groups(
    store: str,
    predictions: tuple[Path, ...],
    rule: str,
    fold: str | None,
    leave_out: Path | None,
    like: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Put the images of each class into groups, its spurious cue shown or hidden, and score predictions by group.

    With --shown 0.5 the half of a class with the highest spuriosity shows the cue; with `split`, what lies above the
    place where the class's spuriosity falls apart into two.
    """
    from salient_imagenet_data.evaluation.numbers.groups import Rule
    from salient_imagenet_data.evaluation.plan.plan import left_out_in, rows_in
    from salient_imagenet_data.evaluation.report.grouped import figures_words, sizes_words, table_of
    from salient_imagenet_data.evaluation.run.predictions import read_predictions
    from salient_imagenet_data.evaluation.score.grouping import fold_in, groups_in, json_of, scored, sizes_in
    from salient_imagenet_data.folds import WHOLE
    from salient_imagenet_data.store.reading import Store
    from salient_imagenet_data.whole_file import check_new, write_text

    if out is not None:
        check_new(out, overwrite)
    opened, by = Store(store), Rule.parse(rule)
    files = [read_predictions(path, len(opened.class_names)) for path in predictions]
    part = fold_in(files, None if fold is None else fold_of(fold))
    left_out = left_out_of(leave_out, opened)
    facts = left_out_in(opened, part, left_out)
    rows = rows_in(opened, part, left_out)
    found = groups_in(opened, rows, by)
    other = None
    if like is not None:
        elsewhere = Store(like)
        other = sizes_in(groups_in(elsewhere, rows_in(elsewhere, WHOLE), by), elsewhere)
    models = scored(files, found, rows, opened, other)
    if out is not None:
        write_text(out, table_of(found, rows, opened))
        tell(f"wrote {out}: {len(rows)} images")
    if as_json:
        click.echo(in_json(json_of(found, opened, models, facts)))
        return
    words = [facts.words] if facts else []
    click.echo(
        "\n\n".join([*words, sizes_words(found, opened), *(figures_words(n, f, opened) for n, f in models.items())])
    )


@cli.command()
@click.argument("store")
@images_options(help="With --clip: the images of the store.")
@click.option("--clip", "clip", metavar="NAME[:PRETRAINED]", help="A network of open_clip that names features as well.")
@click.option("--weights", help="With --clip: its weights, a file, instead of a download.")
@click.option("--words", type=FILE, help="With --clip: words, one a line.  [default: class names and common cues]")
@click.option("-n", "count", type=click.IntRange(1), default=5, help="With --clip: images of a feature.")
@click.option("--kind", type=click.Choice(KINDS), help="Only features of this kind.")
@click.option("--skip-missing", is_flag=True, help="With --clip: go on where images are missing.")
@click.option("--out", type=FILE, help="With --clip: a CSV of the names to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@DEVICE
@JSON
def name(
    store: str,
    images: GivenImages | None,
    clip: str | None,
    weights: str | None,
    words: Path | None,
    count: int,
    kind: Kind | None,
    skip_missing: bool,
    out: Path | None,
    overwrite: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Print what features are called: by people, in the most frequent words of their reasons, and by a network.

    With --clip each feature's highest images, dimmed where its map is low, are held against a bank of words: score is
    the mean cosine of the best one, margin how much better it is than the next, elsewhere its mean at other features.
    """
    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.store.describing import names_json, names_table
    from salient_imagenet_data.store.reading import Store

    opened = Store(store)
    if clip is None:
        given = {"--images": images, "--weights": weights, "--words": words, "--out": out}
        if alone := [option for option, value in given.items() if value is not None]:
            raise SalientError(f"{alone[0]}: is about naming by a network", then="give --clip too, or leave it out")
        click.echo(in_json(names_json(opened, kind)) if as_json else names_table(opened, kind))
        return
    if images is None:
        raise SalientError(f"--clip {clip}: looks at images", expected="--images")
    from salient_imagenet_data.whole_file import check_new, write_text

    if out is not None:
        check_new(out, overwrite)
    from salient_imagenet_data.evaluation.naming.bank import default_bank, read_bank
    from salient_imagenet_data.evaluation.naming.clip_names import csv_of, lines, name_features, open_words
    from salient_imagenet_data.networks.devices import check_device

    on = check_device(device)
    bank = default_bank(opened.class_names) if words is None else read_bank(words)
    network = open_words(clip, bank, weights, on)
    source = images.of(opened)
    found = name_features(
        opened, source, network, count=count, kind=kind, missing="skip" if skip_missing else "error", device=on
    )
    if out is not None:
        write_text(out, csv_of(found.names))
        tell(f"wrote {out}")
    click.echo(in_json(found.to_json()) if as_json else lines(found, opened))

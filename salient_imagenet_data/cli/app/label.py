"""The commands of people's answers: the pages on which they answer, and files of answers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import get_args

import click

from salient_imagenet_data.cli.app.serving import serving_options
from salient_imagenet_data.cli.commands import ATTACK, FILE, attack_of, cli, tell
from salient_imagenet_data.cli.images import GivenImages, images_options
from salient_imagenet_data.cli.localise import BY_BOXES, by_boxes
from salient_imagenet_data.names import Form


@cli.command()
@click.argument("store")
@images_options(required=True)
@click.option("--answers", type=FILE, help="File of answers.  [default: STORE.answers.sqlite, beside the store]")
@click.option("--annotator", help="Whose answers these are, where that is one person.  [default: each page asks]")
@click.option(
    "--annotators-per-pair",
    "per_pair",
    type=click.IntRange(1, 100),
    help="People who answer each pair.  [default: 5; 1 with --annotator]",
)
@click.option("--repeats", type=click.FloatRange(0, 1), default=0.05, help="Share of answers that is asked again.")
@click.option("--generalise", type=click.IntRange(0), default=0, help="Pairs to ask again on five lower images.")
@click.option("--gold", type=FILE, help="CSV of pairs whose answer is known; everybody is asked them.")
@click.option("--definitions", type=FILE, help="Lines of a class name and a text to show with it, a tab between.")
@BY_BOXES
@ATTACK
@serving_options
def label(
    store: str,
    images: GivenImages,
    answers: Path | None,
    annotator: str | None,
    per_pair: int | None,
    repeats: float,
    generalise: int,
    gold: Path | None,
    definitions: Path | None,
    boxes: Path | None,
    attack: str | None,
    architecture: str | None,
    device: str | None,
    host: str,
    port: int,
    token: str | None,
    no_browser: bool,
) -> None:
    """Answer in the browser what each feature shows, alone or several people at once."""
    from salient_imagenet_data.app.label.opening import open_desk, place_of_answers
    from salient_imagenet_data.app.label.routes import label_routes
    from salient_imagenet_data.app.serving import access_to, listen, serve
    from salient_imagenet_data.app.site import site
    from salient_imagenet_data.errors import many
    from salient_imagenet_data.store.reading import Store

    access = access_to(host, token)
    opened = Store(store)
    place = place_of_answers(store, answers)
    order = by_boxes(opened, boxes)
    ended = threading.Event()
    attacks = attack_of(opened, attack, architecture, device, ended.is_set)
    desk = open_desk(
        opened,
        images.of(opened),
        place,
        annotator=annotator,
        per_pair=per_pair,
        repeats=repeats,
        generalise=generalise,
        gold=gold,
        definitions=definitions,
        order=order,
        place=store,
        attack=attacks,
    )
    try:
        if lost := len(desk.gallery.joined.missing):
            tell(f"{lost} of {len(opened)} images are not there; their places stay empty")
        if (again := len(desk.plan.wide)) < generalise:
            tell(f"{many(again, 'pair')} to ask again, not {generalise}: no other has images of the ranks 6 to 65")
        if definitions is not None:
            tell(f"{desk.defined} of {many(len(opened.class_names), 'class', 'classes')} have a text in {definitions}")
        listening = listen(host, port)
        serve(site((desk.gallery,), label_routes(desk), access), listening, host, token, not no_browser, click.echo)
    finally:
        ended.set()
        desk.close()
    click.echo(f"the answers are in {place}")


@cli.command("export-answers")
@click.argument("store")
@click.option("--answers", type=FILE, help="File of answers.  [default: STORE.answers.sqlite, beside the store]")
@click.option("--format", "form", type=click.Choice(get_args(Form)), default="csv", help="What to write.")
@click.option("--out", type=FILE, required=True, help="File to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def export_answers(store: str, answers: Path | None, form: Form, out: Path, overwrite: bool) -> None:
    """Write the answers given in the browser as a CSV, with the columns of 2022, or as tasks of Label Studio."""
    from salient_imagenet_data.annotation.label_studio import CONFIG
    from salient_imagenet_data.app.label.book import read_book
    from salient_imagenet_data.app.label.desk import answers_in, identity_of, unknown_in
    from salient_imagenet_data.app.label.exporting import exported
    from salient_imagenet_data.app.label.opening import place_of_answers
    from salient_imagenet_data.errors import many
    from salient_imagenet_data.store.reading import Store
    from salient_imagenet_data.whole_file import check_new, write_text

    interface = out.with_name(out.stem + ".labelling.xml") if form == "label-studio" else None
    for path in filter(None, (out, interface)):
        check_new(path, overwrite)
    place, opened = place_of_answers(store, answers), Store(store)
    ledger = read_book(place, identity_of(opened))
    if line := unknown_in(ledger, opened):
        tell(line)
    written = answers_in(ledger, opened)
    write_text(out, exported(ledger, opened, form))
    if interface is not None:
        write_text(interface, CONFIG)
        tell(f"the labelling interface that Label Studio needs for these tasks is in {interface}")
    people = many(len({answer.annotator for answer in written}), "person", "people")
    pairs = many(len({(answer.class_index, answer.feature_index) for answer in written}), "pair")
    click.echo(f"wrote {out}: {many(len(written), 'answer')} of {people} about {pairs}")


@cli.command("import-answers")
@click.argument("store")
@click.argument("file", type=FILE)
@click.option("--answers", type=FILE, help="File of answers.  [default: STORE.answers.sqlite, beside the store]")
def import_answers(store: str, file: Path, answers: Path | None) -> None:
    """Add answers to those given in the browser: from a CSV or Parquet file, or Label Studio's JSON."""
    from salient_imagenet_data.app.label.exporting import take_in
    from salient_imagenet_data.app.label.opening import place_of_answers
    from salient_imagenet_data.errors import many
    from salient_imagenet_data.store.reading import Store

    place = place_of_answers(store, answers)
    count = take_in(file, Store(store), place, tell)
    click.echo(f"{many(count, 'answer')} added to {place}")

"""The command that shows photographs with their masks."""

from __future__ import annotations

from pathlib import Path

import click

from salient_imagenet_data.cli.commands import FILE, cli, tell
from salient_imagenet_data.cli.images import GivenImages, images_options


@cli.command()
@click.argument("store")
@images_options(required=True)
@click.option("--class", "classes", multiple=True, help="Only this class, by its name; repeat for several.")
@click.option("-n", "count", type=click.IntRange(1, 50), default=2, help="Photographs of each class.")
@click.option("--out", type=FILE, default=Path("look.png"), help="PNG file to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def look(store: str, images: GivenImages, classes: tuple[str, ...], count: int, out: Path, overwrite: bool) -> None:
    """Show photographs with their core mask in blue and their spurious mask in orange.

    The photographs of a class are those that show its features most; without --class, of ten classes at most.
    """
    from salient_imagenet_data.errors import SalientError
    from salient_imagenet_data.joining import join
    from salient_imagenet_data.looking import choose, sheet
    from salient_imagenet_data.store.reading import Store
    from salient_imagenet_data.whole_file import whole_file

    if out.exists() and not overwrite:
        raise SalientError(f"{out}: exists", expected="a new file", then="choose another --out or use --overwrite")
    opened = Store(store)
    opened.kind_table  # noqa: B018 - says so now if the store is not annotated
    joined = join(opened, images.of(opened), missing="skip")
    if joined.missing:
        tell(f"{len(joined.missing)} of {len(opened)} images are not there and are left out")
    items = choose(joined, classes, count)
    picture = sheet(joined, items)
    with whole_file(out) as file:
        picture.save(file, format="PNG")
    shown = len({int(opened.rows.labels[joined.rows[item]]) for item in items})
    click.echo(f"wrote {out}: {len(items)} photographs of {shown} of {len(opened.class_names)} classes")

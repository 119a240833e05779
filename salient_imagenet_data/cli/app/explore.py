"""The command that opens pages to look into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from salient_imagenet_data.cli.app.serving import serving_options
from salient_imagenet_data.cli.commands import FILE, FOLDER, PLACE, cli, tell
from salient_imagenet_data.cli.images import IMAGES, GivenImages, images_options

if TYPE_CHECKING:
    from salient_imagenet_data.images.source import ImageSource

MANY = 100_000
"""Images of a store that are looked for once the first page is shown."""


@cli.command()
@click.argument("store")
@images_options(help=f"{IMAGES} Without it, maps are shown alone.")
@click.option("--other", metavar="STORE", help="Another store of the same images, whose masks are shown beside these.")
@click.option("--boxes", type=PLACE, help="People's boxes, as of `localise`.")
@click.option("--relevance", type=FOLDER, help="Folder of `relevance --out`, for what it says of each map.")
@click.option("--predictions", type=FILE, multiple=True, help="Predictions of `evaluate`; repeat for several models.")
@click.option(
    "--no-photographs", is_flag=True, help="Write maps alone to --static or --space, although there are images."
)
@click.option("--static", type=FOLDER, help="Write the pages as files to this new folder, and serve nothing.")
@click.option("--space", type=FOLDER, help="The same as a Space of the Hugging Face Hub.")
@click.option("--overwrite", is_flag=True, help="Replace pages that were written there before.")
@serving_options
@click.pass_context
def explore(
    context: click.Context,
    store: str,
    images: GivenImages | None,
    other: str | None,
    boxes: Path | None,
    relevance: Path | None,
    predictions: tuple[Path, ...],
    no_photographs: bool,
    static: Path | None,
    space: Path | None,
    overwrite: bool,
    host: str,
    port: int,
    token: str | None,
    no_browser: bool,
) -> None:
    """Look into a store in the browser: search features, see their images, maps, masks and numbers."""
    _check(context, images, [path for path in (static, space) if path is not None])
    from salient_imagenet_data.app.explore.opening import open_library
    from salient_imagenet_data.app.explore.placing import check_place
    from salient_imagenet_data.app.explore.routes import explore_routes
    from salient_imagenet_data.app.explore.writing import write_site
    from salient_imagenet_data.app.serving import access_to, listen, serve
    from salient_imagenet_data.app.site import site
    from salient_imagenet_data.evaluation.relevance.table import read_flags
    from salient_imagenet_data.store.reading import Store

    access = access_to(host, token)
    writes = [(path, path is space) for path in (static, space) if path is not None]
    opened = Store(store)
    for path, _ in writes:
        check_place(path, opened.path, images=None if images is None else Path(images.place), overwrite=overwrite)

    def found() -> ImageSource:
        assert images is not None
        return images.of(opened)

    flags = None if relevance is None else read_flags(relevance, opened)
    later = len(opened) > MANY and not writes
    library = open_library(
        opened,
        None if images is None or no_photographs else found if later else found(),
        other=None if other is None else Store(other),
        boxes=boxes,
        flags=flags,
        predictions=predictions,
        name=store,
    )
    if flags is not None and relevance is not None:
        tell(flags.told(relevance, opened))
    if lost := len(library.gallery.joined.missing):
        tell(f"{lost} of {len(opened)} images are not there; their maps are shown alone")
    for path, as_space in writes:
        made = write_site(library, path, space=as_space, overwrite=overwrite)
        if made.photographs:
            tell("photographs are among the pictures: share them only where you may, or write with --no-photographs")
        click.echo(f"wrote {path}: {made.pages} pages, {made.pictures} pictures, {made.size / 1e6:.1f} MB")
        if made.left_out:
            tell(
                f"{path}: {made.left_out} features are not on the page of all features, only on those of their classes"
            )
    if not writes:
        listening = listen(host, port)
        serve(
            site(library.galleries, explore_routes(library), access), listening, host, token, not no_browser, click.echo
        )


def _check(context: click.Context, images: GivenImages | None, writes: list[Path]) -> None:
    """Raises UsageError for options that do not go together."""
    if len({path.resolve() for path in writes}) < len(writes):
        raise click.UsageError("--static and --space name one place: choose another for one of them")
    of_serving, of_writing = ("host", "port", "token", "no_browser"), ("overwrite", "no_photographs")
    for name in of_serving if writes else of_writing:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            what = "does not go with --static or --space" if writes else "needs --static or --space"
            raise click.UsageError(f"--{name.replace('_', '-')} {what}")
    if context.params["no_photographs"] and images is None:
        raise click.UsageError("--no-photographs needs --images")

"""`export` and `publish`: a store as a data set on the Hub, or in a format of another tool."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from salient_imagenet_data.cli.commands import FOLDER, cli, tell
from salient_imagenet_data.cli.commands import options as several
from salient_imagenet_data.cli.images import GivenImages, images_options
from salient_imagenet_data.formats.names import HUB, NAMES

if TYPE_CHECKING:
    from salient_imagenet_data.formats.names import Name
    from salient_imagenet_data.store.reading import Store

_with_images = several(
    (
        images_options(help="Also export the images, from the tree the store was built from (or only name them)."),
        click.option("--redistribute", is_flag=True, help="You say that these images may be passed on."),
        click.option("--workers", type=click.IntRange(1), default=1, help="Processes that write masks."),
        click.option("--overwrite", is_flag=True, help="Replace an older export."),
    )
)


@cli.command("export")
@click.argument("store")
@click.option("--out", type=FOLDER, required=True, help="Folder to write; a stopped export goes on.")
@click.option("--repo", default="ORG/NAME", help="Name of the data set in the card's examples.")
@click.option(
    "--format",
    "form",
    type=click.Choice((HUB, *NAMES)),
    default=HUB,
    help="Layout of the Hub's repository, or masks for another tool, in pixels of the original images.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="From which soft value on a pixel is inside, for coco and label-studio.  [default: 0.5]",
)
@_with_images
def export_command(store: str, out: Path, repo: str, form: str, threshold: float | None, **options: Any) -> None:
    """Write a store as a folder laid out as its repository on the Hub, or its masks in a format of another tool."""
    from salient_imagenet_data.store.reading import Store

    if form == HUB:
        if threshold is not None:
            raise click.UsageError("--threshold is for --format coco and label-studio: masks on the Hub are soft")
        _export(Store(store), out, repo, **options)
        click.echo(f"wrote {out}")
        code = f"import datasets; print(datasets.load_dataset({json.dumps(str(out), ensure_ascii=False)}))"
        click.echo(f"next: {shlex.join(['python', '-c', code])}")
        return
    if repo != "ORG/NAME":
        raise click.UsageError(f"--repo is for --format {HUB}: the others have no card")
    _export_masks(Store(store), out, cast("Name", form), threshold, **options)


@cli.command()
@click.argument("store")
@click.option("--repo", required=True, help="Data set on the Hub, org/name; made if it is not there.")
@click.option("--private", is_flag=True, help="Make it private.")
@click.option("--gated", is_flag=True, help="Readers must accept its terms first.")
@click.option("--revision", help="Tag to set last.  [default: v and the store's data version]")
@click.option("--out", type=FOLDER, help="Folder for the export, which is kept.  [default: STORE.hub]")
@_with_images
def publish(
    store: str, repo: str, private: bool, gated: bool, revision: str | None, out: Path | None, **options: Any
) -> None:
    """Export a store and upload it in one commit. The same command goes on after a failure."""
    from salient_imagenet_data.hub.layout import tag_of
    from salient_imagenet_data.hub.publish import publish as publish_folder
    from salient_imagenet_data.store.reading import Store

    if out is None and not Path(store).is_dir():
        raise click.UsageError(f"{store} is no folder here: give --out FOLDER for the export")
    opened = Store(store)
    folder = out or Path(store).with_name(Path(store).name + ".hub")
    _export(opened, folder, repo, **options)
    result = publish_folder(
        folder,
        repo,
        tag=revision or tag_of(opened.manifest.data_version),
        private=private,
        gated="auto" if gated else None,
        tell=tell,
    )
    click.echo(f"{result.url} at {result.tag} (commit {result.commit[:12]}, {result.files} files changed)")


def _bar_of(bar: Any) -> Callable[[int, int], None]:
    """What shows on a bar how many of how many are finished."""

    def done(finished: int, total: int) -> None:
        bar.total = total
        bar.update(finished - bar.n)

    return done


def _export(
    store: Store, out: Path, repo: str, images: GivenImages | None, redistribute: bool, workers: int, overwrite: bool
) -> None:
    from salient_imagenet_data.hub.export import export
    from salient_imagenet_data.progress import progress

    with progress((), total=0, what="exporting", unit="file") as bar:
        export(
            store,
            out,
            repo=repo,
            source=images.of(store) if images is not None else None,
            redistribute=redistribute,
            workers=workers,
            overwrite=overwrite,
            done=_bar_of(bar),
        )


def _export_masks(
    store: Store,
    out: Path,
    form: Name,
    threshold: float | None,
    images: GivenImages | None,
    redistribute: bool,
    workers: int,
    overwrite: bool,
) -> None:
    from salient_imagenet_data.formats.export import export_masks
    from salient_imagenet_data.progress import progress

    with progress((), total=0, what="exporting", unit="unit") as bar:
        exported = export_masks(
            store,
            out,
            form,
            threshold=threshold,
            source=images.of(store) if images is not None else None,
            redistribute=redistribute,
            workers=workers,
            overwrite=overwrite,
            done=_bar_of(bar),
        )
    click.echo(f"wrote {out}: {'; '.join(f'{count:,} {what}' for what, count in sorted(exported.counts.items()))}")

"""`export` and `publish`: a store as a data set on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import FOLDER, cli, tell
from salient_imagenet_data.cli.commands import options as several
from salient_imagenet_data.cli.images import GivenImages, images_options

if TYPE_CHECKING:
    from salient_imagenet_data.store.reading import Store

_with_images = several(
    (
        images_options(help="Also export the images, from the tree the store was built from."),
        click.option("--redistribute", is_flag=True, help="You say that these images may be passed on."),
        click.option("--workers", type=click.IntRange(1), default=1, help="Processes that write masks."),
        click.option("--overwrite", is_flag=True, help="Replace an older export."),
    )
)


@cli.command("export")
@click.argument("store")
@click.option("--out", type=FOLDER, required=True, help="Folder to write; a stopped export goes on.")
@click.option("--repo", default="ORG/NAME", help="Name of the data set in the card's examples.")
@_with_images
def export_command(store: str, out: Path, repo: str, **options: Any) -> None:
    """Write a store as a folder laid out as its repository on the Hub."""
    from salient_imagenet_data.store.reading import Store

    _export(Store(store), out, repo, **options)
    click.echo(f"wrote {out}")
    click.echo(f'next: python -c "import datasets; print(datasets.load_dataset({str(out)!r}))"')


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


def _export(
    store: Store, out: Path, repo: str, images: GivenImages | None, redistribute: bool, workers: int, overwrite: bool
) -> None:
    from salient_imagenet_data.hub.export import export
    from salient_imagenet_data.progress import progress

    with progress((), total=0, what="exporting", unit="file") as bar:

        def done(finished: int, total: int) -> None:
            bar.total = total
            bar.update(finished - bar.n)

        export(
            store,
            out,
            repo=repo,
            source=images.of(store) if images is not None else None,
            redistribute=redistribute,
            workers=workers,
            overwrite=overwrite,
            done=done,
        )

"""The commands of the official 2022 release: import it, and compare two stores."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import PLACE, VERSION, cli, in_json, tell
from salient_imagenet_data.cli.images import GivenImages, images_options

if TYPE_CHECKING:
    from salient_imagenet_data.store.reading import Store


@cli.command("import-official")
@click.argument("release", type=PLACE)
@click.option("--out", required=True, help="Store to write, a folder.")
@click.option("--grid", default="7x7", help="What masks are reduced to, as HEIGHTxWIDTH; full keeps all pixels.")
@click.option("--annotations", help="File of answers, or `official`; they give the features' kinds and order.")
@click.option("--majority", type=click.IntRange(1), default=3, help="Answers that make a feature spurious.")
@images_options(help="Your ImageNet training set, or some of its classes, to read the images' sizes from.")
@click.option("--resize", type=click.IntRange(1), default=256, help="Shorter side after resizing, in the masks' frame.")
@click.option("--crop", type=click.IntRange(1), default=224, help="Side of the masks.")
@click.option("--feature-count", type=click.IntRange(1), default=2048, help="Features of the network.")
@click.option("--split", default="train", help="Name of the split.")
@click.option("--data-version", default="1.0.0", help=VERSION)
@click.option("--skip-broken", is_flag=True, help="Put masks that cannot be decoded into quarantine and go on.")
@click.option("--workers", type=click.IntRange(1), help="Processes that make grids.  [default: one a core]")
@click.option("--resume", is_flag=True, help="Go on with an import that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
def import_command(
    release: Path,
    out: str,
    grid: str,
    annotations: str | None,
    images: GivenImages | None,
    resize: int,
    crop: int,
    skip_broken: bool,
    workers: int | None,
    resume: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Make a store of the official 2022 release: its zip, read in place, or the folder unpacked."""
    from salient_imagenet_data.annotation.official import annotations_of
    from salient_imagenet_data.geometry import Preprocessing
    from salient_imagenet_data.official.importing import ImportConfig, import_official

    store = import_official(
        release,
        out,
        annotations=annotations_of(annotations, tell) if annotations else None,
        images=images.source(options["split"]) if images else None,
        config=ImportConfig(
            grid=_grid(grid),
            preprocessing=Preprocessing(resize, crop),
            broken="skip" if skip_broken else "error",
            **options,
        ),
        workers=workers,
        resume=resume,
        overwrite=overwrite,
    )
    click.echo(_summary(store, out))


@cli.command()
@click.argument("store_a")
@click.argument("store_b")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every pair.")
def compare(store_a: str, store_b: str, as_json: bool) -> None:
    """How far the masks of two stores agree, say published ones and rebuilt ones."""
    from salient_imagenet_data.store.comparing import compare as compare_stores
    from salient_imagenet_data.store.comparing import table
    from salient_imagenet_data.store.reading import Store

    result = compare_stores(Store(store_a), Store(store_b))
    click.echo(in_json(result) if as_json else table(result))


def _grid(text: str) -> tuple[int, int] | None:
    if text == "full":
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if match is None:
        raise click.BadParameter(f"expected HEIGHTxWIDTH or full, got {text!r}", param_hint="--grid")
    return int(match[1]), int(match[2])


def _summary(store: Store, out: str) -> str:
    m, origin = store.manifest, store.manifest.origin
    lines = [
        f"wrote {out}: {m.images} images, {len(store.features)} features, {origin['masks']} masks, "
        f"{m.quarantined} in quarantine"
    ]
    if origin["classes_absent"]:
        lines.append(f"{origin['classes_absent']} classes of wordnet_dict.py have no folder")
    if "classes_left_out" in origin:
        lines.append(
            f"{origin['classes_left_out']} classes of the release are not among the images' and were left out, with "
            f"{origin['masks_left_out']} masks"
        )
    if origin["columns_passed_over"]:
        lines.append(f"{origin['columns_passed_over']} columns of the lists are of no feature and were passed over")
    if origin["files_not_listed"]:
        lines.append(f"{origin['files_not_listed']} files are in no list and were left aside")
    if "grid_error" in origin:
        error = origin["grid_error"]
        lines.append(
            f"reduced to {m.grid[0]}x{m.grid[1]}; error of means of {error['pool']}x{error['pool']} pixels: mean "
            f"{error['mean']:.5f}, greatest {error['max']:.5f} of 1"
            + (f" ({error['worst']})" if error["worst"] else "")
            + f"; of all pixels of {error['whole_masks']} masks: mean {error['whole_mean']:.5f}, "
            f"greatest {error['whole_max']:.5f}"
        )
    if m.annotations_sha256 is None:
        lines.append(f"next: {shlex.join(['salient-imagenet', 'apply', str(out), 'ANSWERS.csv'])}")
    return "\n".join(lines)

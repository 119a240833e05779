"""The options of commands that read images, and what these commands say about them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import tell
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.layout.names import LAYOUTS, Layout
from salient_imagenet_data.places import is_url, on_disk

if TYPE_CHECKING:
    from salient_imagenet_data.images.source import ImageSource
    from salient_imagenet_data.store.reading import Store

IMAGES = "Class-per-folder tree, ImageNet's or Kaggle's folder, tar shards, or a data set on the Hub."
SHOWN = 12
"""Classes that a line names before it is cut."""


@dataclass(frozen=True)
class GivenImages:
    """What the options say: where the images are, what a folder is, whether to list what is passed over. writes: the
    folder that the command makes, or the one that it writes a file to."""

    place: str
    layout: Layout | None = None
    verbose: bool = False
    writes: Path | None = None

    def __str__(self) -> str:
        return self.place

    def options(self) -> list[str]:
        """The options that say where the images are, for another command."""
        return ["--images", self.place, *([] if self.layout is None else ["--layout", self.layout])]

    def at(self, place: str) -> GivenImages:
        """Another place, opened likewise."""
        return replace(self, place=place)

    def source(self, split: str) -> ImageSource:
        """The images of a split. What a person should know of them is told on stderr."""
        from salient_imagenet_data.images.opening import open_source

        return self._told(open_source(self.place, split, layout=self.layout))

    def of(self, store: Store) -> ImageSource:
        """The images of a store, likewise."""
        from salient_imagenet_data.joining import images_of

        return self._told(images_of(store, self.place, layout=self.layout))

    def _told(self, source: ImageSource) -> ImageSource:
        from salient_imagenet_data.images.folder import FileSource
        from salient_imagenet_data.images.source import ListedSource

        if isinstance(source, FileSource) and self.writes is not None:
            folder = on_disk(self.place)
            if folder.resolve() in self.writes.resolve().parents:
                raise SalientError(
                    f"{self.writes}: among the images, where what is written could be taken for theirs",
                    expected=f"a place outside {folder}",
                    then="choose another --out",
                )
        if isinstance(source, ListedSource):
            if source.taken_for:
                tell(source.taken_for)
            if source.passed_over:
                tell(source.passed_over.line() + ("" if self.verbose else "; --verbose lists them"))
                if self.verbose:
                    tell(source.passed_over.table())
        return source


def images_options(*, required: bool = False, help: str = IMAGES) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--images, --layout and --verbose, which a command gets as one `images`: a GivenImages, or None. The others are
    refused without --images."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*args: Any, images: str | None, layout: Layout | None, verbose: bool, **options: Any) -> Any:
            for option, value in (("--layout", layout), ("--verbose", verbose)):
                if images is None and value:
                    raise click.UsageError(f"{option} is about --images: give it too, or leave {option} out")
            writes = _writes(click.get_current_context().command, options.get("out"))
            given = None if images is None else GivenImages(images, layout, verbose, writes)
            return command(*args, images=given, **options)

        options = (
            click.option("--images", required=required, help=help),
            click.option(
                "--layout",
                type=click.Choice(LAYOUTS),
                help="What the folder is, where its names could mean two things.  [default: looked up]",
            ),
            click.option("--verbose", is_flag=True, help="List the files that are passed over."),
        )
        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), run)

    return decorate


def _writes(command: click.Command, out: str | Path | None) -> Path | None:
    """The folder that a command with this --out makes, or writes a file to; None behind a URL."""
    if out is None or is_url(out):
        return None
    kind = next(option.type for option in command.params if option.name == "out")
    return on_disk(out).parent if isinstance(kind, click.Path) and not kind.dir_okay else on_disk(out)


def tell_classes(source: ImageSource) -> None:
    """Which class folder counts as which number, for weights that do not name their classes."""
    names = source.class_names
    some = [f"{index} = {name}" for index, name in enumerate(names[:SHOWN])]
    more = [] if len(names) <= SHOWN else ["...", f"{len(names) - 1} = {names[-1]}"]
    tell(f"the weights name no classes; they are counted as {', '.join([*some, *more])}")

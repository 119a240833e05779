"""The options that say which robust network builds a store."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from salient_imagenet_data.cli.commands import FILE, OUTPUTS, tell
from salient_imagenet_data.geometry import Preprocessing

if TYPE_CHECKING:
    from salient_imagenet_data.builder.config import BuildConfig, RunConfig
    from salient_imagenet_data.images.source import ImageSource
    from salient_imagenet_data.networks.robust import ImageClassifier
    from salient_imagenet_data.networks.smallnet import SmallNetModel


@dataclass(frozen=True)
class GivenNetwork:
    """weights: file, address or published name. sha256: that the file must have. architecture: its spec. outputs: a
    file with the names of its outputs. preprocessing: of a plain state dict. probe: where the network goes with a head
    that is fitted on the images."""

    weights: str
    sha256: str | None
    architecture: str | None
    outputs: str | None
    preprocessing: Preprocessing | None
    probe: Path | None

    def fit(self, source: ImageSource, config: BuildConfig, run: RunConfig) -> None:
        """Fit a head on the images, put the network with it into `probe`, and tell."""
        from salient_imagenet_data.builder.probe import probed

        assert self.probe is not None
        files = self.weights, self.architecture, self.probe
        line = probed(source, *files, preprocessing=self.preprocessing, sha256=self.sha256, config=config, run=run)
        tell(line)

    def fitted(self) -> GivenNetwork:
        """The network with the head that was fitted: its file says what it is."""
        return replace(self, weights=str(self.probe), sha256=None, architecture=None)

    def open(self, class_names: tuple[str, ...]) -> tuple[SmallNetModel | ImageClassifier, str]:
        """The model for these classes, and its file's sha256."""
        from salient_imagenet_data.networks.openers.labels import read_labels
        from salient_imagenet_data.networks.robust import load_model

        return load_model(
            self.weights,
            architecture=self.architecture,
            preprocessing=self.preprocessing,
            class_names=class_names,
            outputs=read_labels(self.outputs) if self.outputs else None,
            sha256=self.sha256,
        )


def network_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--weights, --weights-sha256, --architecture, --class-names, --resize, --crop and --probe, which a command gets as
    one `network`: a GivenNetwork."""

    @functools.wraps(command)
    def run(
        *args: Any,
        weights: str,
        weights_sha256: str | None,
        architecture: str | None,
        outputs: str | None,
        resize: int | None,
        crop: int | None,
        probe: Path | None,
        **options: Any,
    ) -> Any:
        if (resize is None) != (crop is None):
            raise click.UsageError("give --resize and --crop together, or neither")
        if probe is not None and outputs:
            raise click.UsageError("--class-names names the outputs of a network's own head, which --probe replaces")
        own = Preprocessing(resize, crop) if resize and crop else None
        network = GivenNetwork(weights, weights_sha256, architecture, outputs, own, probe)
        return command(*args, network=network, **options)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(OPTIONS), run)


OPTIONS = (
    click.option(
        "--weights", required=True, help="Robust classifier: file, hf://owner/name/file[@revision], or published name."
    ),
    click.option("--weights-sha256", help="Refuse weights with another sha256."),
    click.option("--architecture", help="Network of a plain state dict: resnet50, torchvision:NAME or timm:NAME."),
    click.option("--class-names", "outputs", metavar="FILE", help=OUTPUTS),
    click.option("--resize", type=click.IntRange(1), help="Shorter side after resizing, for a plain state dict."),
    click.option("--crop", type=click.IntRange(1), help="Side of the square crop, for a plain state dict."),
    click.option(
        "--probe",
        type=FILE,
        help="Fit a new head for the classes of the images, and keep the network with it in this file, .safetensors.",
    ),
)

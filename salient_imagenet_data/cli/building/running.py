"""The options that say how a build is run, which change no byte of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import click

from salient_imagenet_data.builder.choices import EngineName
from salient_imagenet_data.cli.commands import DEVICE

if TYPE_CHECKING:
    from salient_imagenet_data.builder.config import RunConfig
    from salient_imagenet_data.builder.units.engine import Engine


@dataclass(frozen=True)
class GivenRun:
    """Each as its option is; None: what fits the machine."""

    batch_size: int | None
    pilot: int
    candidates: int
    engine: EngineName
    address: str | None
    workers: int | None
    threads: int | None
    device: str | None

    def runner(self) -> Engine:
        """Who runs it."""
        from salient_imagenet_data.builder.units.engine import make_engine

        return make_engine(self.engine, self.address, self.workers)

    def on(self) -> str:
        """The device of the pass. Ray's workers may have devices that this machine has not."""
        from salient_imagenet_data.networks.devices import check_device, device_of

        return device_of(self.device) if self.engine == "ray" else check_device(self.device)

    def here(self) -> str:
        """A device of this machine."""
        from salient_imagenet_data.networks.devices import check_device

        return check_device(None if self.engine == "ray" else self.device)

    def batch(self, device: str, crop: int) -> int:
        """Images at a time."""
        from salient_imagenet_data.networks.devices import default_batch_size

        return self.batch_size or default_batch_size(device, crop)

    def config(self, device: str, *, check_annotations: bool = False) -> RunConfig:
        """For the builder."""
        from salient_imagenet_data.builder.config import RunConfig
        from salient_imagenet_data.builder.units.engine import default_threads

        return RunConfig(
            self.threads or default_threads(),
            device,
            check_annotations=check_annotations,
            pilot=self.pilot,
            candidates=self.candidates,
        )


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--batch-size, --pilot, --candidates, --engine, --address, --workers, --threads and --device, which a command gets
    as one `given`: a GivenRun."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        given = GivenRun(**{name: options.pop(name) for name in GivenRun.__dataclass_fields__})
        return command(*args, given=given, **options)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(OPTIONS), run)


OPTIONS = (
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        help="Images that go through the network at a time.  [default: 64, on a CPU fewer large images]",
    ),
    click.option("--pilot", type=click.IntRange(0), default=64, help="Images a class ranked first; 0: two passes."),
    click.option("--candidates", type=click.IntRange(1), default=24, help="Features a class that a pilot chooses."),
    click.option(
        "--engine", type=click.Choice(get_args(EngineName)), default="local", help="Who runs it; torchrun is local."
    ),
    click.option("--address", help="Of the Ray cluster; none starts one on this machine."),
    click.option("--workers", type=click.IntRange(1), help="Ray workers.  [default: all CPUs, or GPUs]"),
    click.option(
        "--threads", type=click.IntRange(1), help="Threads that decode.  [default: the CPUs of a process, at most 16]"
    ),
    DEVICE,
)

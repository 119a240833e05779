"""A whole fine-tuning: open, go on or begin, train, write the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from salient_imagenet_data.builder.training.loop import Epoch, fine_tune
from salient_imagenet_data.builder.training.processes import Processes
from salient_imagenet_data.builder.training.recipe import Recipe
from salient_imagenet_data.builder.training.starting import Start
from salient_imagenet_data.builder.training.state import State, file_of, go_on, keep, said
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.networks.saving import save_as_read


def check_state(out: Path, resume: bool, overwrite: bool) -> bool:
    """Whether to go on from a state that an earlier training of `out` left. Raises SalientError where there is one and
    nobody says what to do with it, or where it is both to go on and to begin anew."""
    if resume and overwrite:
        raise SalientError("--resume goes on and --overwrite begins anew", expected="one of them")
    there = file_of(out).exists()
    if there and not (resume or overwrite):
        raise SalientError(
            f"{file_of(out)}: an earlier training of {out.name} stopped",
            then="go on with --resume, or begin anew with --overwrite",
        )
    return there and resume


def make_robust(
    start: Start,
    source: ImageSource,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    processes: Processes | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> None:
    """Fine-tune `start` on a source's images and write its weights to `out`, as they can be opened with its spec.

    A state lies beside `out` after each epoch, and is removed when the weights are written. resume: go on from it; the
    weights are then, byte for byte, those of a run that was not stopped, on one machine with one number of threads.
    """
    processes, path = processes or Processes(), file_of(out)
    about = said(recipe, source, start.network, head=start.head, preprocessing=str(start.preprocessing))
    state = go_on(path, start.model, about) if resume else State.of(start.model)
    labels = np.fromiter((source.entry(i).label for i in range(len(source))), dtype=np.int64, count=len(source))
    processes.wait()  # until all have read the state

    def kept(state: State) -> None:
        if processes.first:
            keep(path, state, start.model, about)
        processes.wait()

    fine_tune(
        start.model, source, labels, start.preprocessing.interpolation, recipe, state, device, processes, report, kept
    )
    if processes.first:
        save_as_read(start.model.cpu(), out, start.spec, source.class_names)
        path.unlink(missing_ok=True)
    processes.wait()

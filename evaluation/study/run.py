"""Run a study: every treatment of every network, each a row; what the folder holds already is not made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import torch

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.study.ground import Ground, Start
from salient_imagenet_data.evaluation.study.measures import REGISTERED
from salient_imagenet_data.evaluation.study.measuring import look
from salient_imagenet_data.evaluation.study.methods import Method, Treatment, treatments_of
from salient_imagenet_data.evaluation.study.plan import Plan
from salient_imagenet_data.evaluation.study.rows import Row, claim, identity_of, path_of, read_row, write_row
from salient_imagenet_data.evaluation.study.tables import name_of
from salient_imagenet_data.networks.classifiers import Classifier, told
from salient_imagenet_data.store.locks import end_with_parent, held
from salient_imagenet_data.whole_file import sweep


class Opening(Protocol):
    """What opens the ground of a study, in each process anew, so it can be pickled. about: what decides its images,
    JSON- ready; not which networks there are."""

    @property
    def about(self) -> Mapping[str, Any]: ...

    def __call__(self) -> Ground: ...


def study(
    opening: Opening,
    folder: Path,
    methods: Sequence[Method],
    plan: Plan = Plan(),  # noqa: B008 - frozen
    *,
    processes: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """The rows of all networks under all treatments, network after network, in the order of the methods.

    A row is written to `folder` when it is done, and read where it is there. Each process computes with one thread, and
    a row hangs on nothing but its network, its treatment and the plan: so their number changes no byte. report: is told
    of each row when it is done. Raises SalientError for a folder of anything else, or what the measures cannot do; a
    method that cannot be used is a row that says so, and is tried again in the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        claim(folder, {"plan": asdict(plan), **opening.about})
        sweep(folder)
        with _threads(1):
            ground = opening()
            wanted = [(start, t) for start in ground.starts for t in treatments_of(methods, plan)]
            paths = [path_of(folder, start.name, treatment) for start, treatment in wanted]
            if len({str(path).casefold() for path in paths}) != len(paths):
                raise SalientError(
                    "networks of a study",
                    expected="names that differ in letters or digits",
                    got=", ".join(start.name for start in ground.starts),
                    then="give each a --name",
                )
            left = [place for place, path in enumerate(paths) if not path.exists() or read_row(path).failed]
            _check_networks([(start, path) for (start, _), path in zip(wanted, paths, strict=True) if path.exists()])
            if len(left) < len(paths):
                report(f"{len(paths) - len(left)} of {len(paths)} rows are there already")
            order = {start.name: number for number, start in enumerate(ground.starts)}
            tasks = [_Task(order[wanted[p][0].name], wanted[p][1], paths[p]) for p in left]
            if processes == 1 or len(tasks) < 2:
                _tell(report, (_told(start) for start in _starts(ground, tasks)))
                for number, task in enumerate(tasks, start=1):
                    report(_line(number, len(tasks), _made(ground, plan, task)))
            else:
                _in_processes(opening, plan, tasks, processes, report)
        return [read_row(path) for path in paths]


def _check_networks(there: Sequence[tuple[Start, Path]]) -> None:
    """Raises SalientError for a row that is of another network of the same name."""
    now: dict[str, str] = {}
    for start, path in there:
        row = read_row(path)
        if start.name not in now:
            now[start.name] = identity_of(start.opened())
        if row.network != now[start.name]:
            raise SalientError(
                f"{path}: of another network called {start.name}",
                expected=now[start.name][:12],
                got=row.network[:12] or "none",
                then="choose another --name or --out",
            )


class _Task:
    """A row to make. number: of the network."""

    def __init__(self, number: int, treatment: Treatment, path: Path) -> None:
        self.number, self.treatment, self.path = number, treatment, path


def _in_processes(
    opening: Opening, plan: Plan, tasks: Sequence[_Task], processes: int, report: Callable[[str], None]
) -> None:
    """First each network once, which may have to be trained, then the rows, in the order of asking."""
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(opening, plan)) as pool:
        try:
            _tell(report, pool.map(_opened, sorted({task.number for task in tasks})))
            done = [pool.submit(_row, task) for task in tasks]
            for number, future in enumerate(as_completed(done), start=1):
                report(_line(number, len(tasks), future.result()))
        except BrokenProcessPool as error:
            raise SalientError(
                "a process of the study was stopped from outside",
                then="run the same command again, with fewer --processes if memory was short",
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_ours: list[tuple[Ground, Plan]] = []
"""In a process of a study: what it works on."""


def _begin(opening: Opening, plan: Plan) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    _ours.append((opening(), plan))


def _opened(number: int) -> list[str]:
    return _told(_ours[0][0].starts[number])


def _starts(ground: Ground, tasks: Sequence[_Task]) -> list[Start]:
    """The networks of some tasks, each once."""
    return [ground.starts[number] for number in sorted({task.number for task in tasks})]


def _told(start: Start) -> list[str]:
    """What a person should hear of a network."""
    classifier = start.opened()
    return told(classifier.details, classifier.preprocessing)


def _tell(report: Callable[[str], None], lines: Iterable[list[str]]) -> None:
    """Each line once: the seeds of a network say the same."""
    for line in dict.fromkeys(chain.from_iterable(lines)):
        report(line)


def _row(task: _Task) -> Row:
    return _made(*_ours[0], task)


def _made(ground: Ground, plan: Plan, task: _Task) -> Row:
    """A row, which is also written."""
    row = treated(ground, ground.starts[task.number], task.treatment, plan)
    write_row(task.path, row)
    return row


def treated(ground: Ground, start: Start, treatment: Treatment, plan: Plan) -> Row:
    """One network under one treatment, measured."""
    classifier = start.opened()
    row = Row(start.name, treatment.method.name, treatment.weight, identity_of(classifier))
    try:
        done = treatment.method.treat(classifier, ground.training, treatment.weight, plan, start.seed)
    except SalientError as error:
        return replace(row, failed=str(error))
    network = done.network.eval()
    truth = {} if ground.truth is None else ground.truth(network)
    after: Classifier = replace(classifier, model=network)
    looked = look(after, ground.testing, plan)
    counts = {
        "images": looked.result.images,
        "few": looked.sufficiency.images,
        "sure": looked.sufficiency.sure,
        "right": looked.certificates.right,
    }
    measures = {measure.key: measure.read(looked) for measure in REGISTERED}
    return replace(row, measures=measures, counts=counts, truth=truth, held_out=done.held_out)


def _line(number: int, of: int, row: Row) -> str:
    shown = [*row.truth.items(), *((key, value) for key, value in row.measures.items() if value is not None)][:4]
    told = row.failed or ", ".join(f"{name} {value:.3f}" for name, value in shown)
    return f"{number}/{of} {row.start}, {name_of(row)}: {told}"


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads of torch, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Processes that this one may use at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

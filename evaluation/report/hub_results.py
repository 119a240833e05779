"""The figures of a leaderboard as the Hub's evaluation results: files for the repositories of the models and of the
data set (https://huggingface.co/docs/hub/eval-results). Nothing is uploaded. No torch.

    models/MODEL/.eval_results/NAME.yaml   for the model's repository: one entry a figure
    dataset/eval.yaml                      for the data set's, which names the tasks that the entries are of
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.vocabulary import BY_KEY
from salient_imagenet_data.evaluation.report.leaderboard import Board, Cell
from salient_imagenet_data.evaluation.run.names import check_names, stem_of
from salient_imagenet_data.evaluation.score.results import StoreFacts
from salient_imagenet_data.hub.layout import DEFAULT
from salient_imagenet_data.places import check_repo_id
from salient_imagenet_data.whole_file import write_text

MARK = "# Written by salient-imagenet leaderboard --hub.\n"
"""The first line of what is ours, and may be written again."""
EVAL_YAML, RESULTS = "dataset/eval.yaml", ".eval_results"
DIGITS = 6
OVER_GROUPS = {BY_KEY[key].name for key in ("worst_group", "groups_alike", "groups_by_size", "groups_adjusted")}
"""Figures over groups of a class each, not over classes."""


@dataclass(frozen=True)
class OnHub:
    """The data set with the masks. repo: org/name. commit: of it, 40 digits, or None. source: where the evaluation can
    be read, or None."""

    repo: str
    commit: str | None = None
    source: str | None = None


def on_hub(dataset: str, source: str | None = None) -> OnHub:
    """Of "org/name" or "org/name@commit". Raises SalientError for other text, and a source that is no address."""
    repo, at, commit = dataset.partition("@")
    check_repo_id(repo)
    if at and re.fullmatch(r"[0-9a-f]{40}", commit) is None:
        raise SalientError(
            f"--dataset {dataset}", expected="a commit of the data set, 40 hexadecimal digits", got=repr(commit)
        )
    if source is not None and re.fullmatch(r"https?://\S+", source) is None:
        raise SalientError("--source", expected="an address that begins with https://", got=repr(source))
    return OnHub(repo, commit or None, source)


def task_id(column: str) -> str:
    """The id of a figure: its name on the leaderboard in small letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")


def hub_results(boards: Sequence[Board], on: OnHub) -> dict[str, str]:
    """Files by path, `EVAL_YAML` the last. Values are shares, as on the board; what they are of stands in their notes.
    What tables of published results say is left out: it is of other data.

    Raises SalientError for boards of several stores, since one data set has one edition of the masks, or models or
    figures that would have one name.
    """
    if len(boards) != 1:
        raise SalientError(
            "results for the Hub are of one store, and one part of its images",
            expected="reports of one",
            got=f"{len(boards)}: " + ", ".join(board.store.name for board in boards),
            then="give a folder with these reports only",
        )
    (board,) = boards
    names = [row.name for row in board.rows]
    check_names(names)
    tasks = {column: task_id(column) for column in board.measured}
    if len(set(tasks.values())) < len(tasks):
        raise SalientError("two figures would have one task id", got=", ".join(sorted(tasks.values())))
    facts, stem = _facts(board.store), on.repo.rpartition("/")[2]
    found = {}
    for row in board.rows:
        of = "; ".join(filter(None, (facts, row.frame)))
        entries = [_entry(column, tasks[column], row.cells[column], of, on) for column in tasks if column in row.cells]
        found[f"models/{stem_of(row.name)}/{RESULTS}/{stem}.yaml"] = _text(entries)
    found[EVAL_YAML] = _text(_benchmark(board, list(tasks.values()), facts))
    return found


def _entry(column: str, task: str, cell: Cell, facts: str, on: OnHub) -> dict[str, Any]:
    """One figure, in the Hub's words."""
    dataset = {"id": on.repo, "task_id": task} | ({"revision": on.commit} if on.commit else {})
    e = cell.estimate
    what = f"{column}{f' ({cell.beside})' if cell.beside else ''}: 95 % interval {e.interval}, n = {e.n}"
    if e.classes > 1:
        what += f", over {e.classes} {'groups' if column in OVER_GROUPS else 'classes'}"
    source = {"source": {"url": on.source}} if on.source else {}
    return {"dataset": dataset, "value": round(e.value, DIGITS), **source, "notes": f"{what}; {facts}"}


def _facts(store: StoreFacts) -> str:
    """What all figures of a board are of."""
    parts = [
        f"{store.images} images of split {store.split}, {store.classes} classes",
        f"masks of network {store.weights_sha256[:12]}, answers {(store.annotations_sha256 or 'none')[:12]}",
    ]
    if store.fold != "1/1":
        parts.append(f"only fold {store.fold}")
    if store.reading == "store":
        parts.append("answers among these classes only")
    if store.left_out is not None:
        parts.append(store.left_out.words)
    return "; ".join(parts)


def _benchmark(board: Board, tasks: Sequence[str], facts: str) -> dict[str, Any]:
    """eval.yaml. It names no evaluation framework: the Hub takes those of a list of its own only, and has none for
    classifiers of images under masks."""
    about = (
        f"How much image classifiers rely on core and on spurious pixels: accuracies with either corrupted under the "
        f"masks of this data set, as shares. {facts}. Measured by `salient-imagenet evaluate`."
    )
    each = [{"id": task, "config": DEFAULT, "split": board.store.split} for task in tasks]
    return {"name": "Core and spurious reliance", "description": about, "tasks": each}


def _text(content: object) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
    return MARK + text


def check_hub_results(files: Iterable[str], folder: Path) -> None:
    """Raise SalientError for a file that is there and not ours. files: by path below the folder."""
    for name in files:
        path = folder / name
        if path.exists() and not (path.is_file() and path.read_bytes().startswith(MARK.encode())):
            raise SalientError(f"{path}: not written by this command", then="move it away, or choose another --hub")


def write_hub_results(files: Mapping[str, str], folder: Path) -> None:
    """Write them below a folder. Raises SalientError, before anything is written, for a file there that is not ours."""
    check_hub_results(files, folder)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)

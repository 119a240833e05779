"""The predictions file: what a model said about each image under each condition. No torch.

Parquet, one row an (image, condition):

    image_id       string          as in the store
    condition      string          "clean" or "<corruption>@<region>"
    classes        list<int32>     class indices, most probable first; all of them or the top k. From C, the number of
                                   the store's classes, up: those that the store has not, in the network's order
    probabilities  list<float32>   their probabilities, aligned
    label_probability  float32     optional: probability of the true class
    square_sum         float32     optional: sum over all classes of the squared probability
    other_reading      int32       optional: the answer among the store's classes where `classes` are among all that
                                   the network knows, and the other way round

With all classes the last two follow from the list; with the top k they are what the negative log likelihood and the
Brier score need. The schema's metadata may hold a JSON object under `salient_imagenet`: who made it, from what. Files
without it, made by other people, are read all the same; the file's name is then the model's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import Condition
from salient_imagenet_data.networks.classes import Reading, outputs_of
from salient_imagenet_data.whole_file import whole_file

METADATA_KEY = b"salient_imagenet"
FORMAT_VERSION = 1
SCHEMA: Any = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("classes", pa.list_(pa.int32()), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("label_probability", pa.float32()),
        pa.field("square_sum", pa.float32()),
    ]
)
REQUIRED = SCHEMA.names[:4]
OTHER: Any = pa.field("other_reading", pa.int32())
"""A column of networks only that know more classes than the store."""
SUM_TOLERANCE = 1e-2
"""How far the probabilities of a row may add up to above 1: float16 over a thousand classes is off by less."""


@dataclass(frozen=True)
class Answers:
    """A model's answers under one condition. image_ids: n, unique. classes: (n, k) int32, most probable first.
    probabilities: (n, k) float32 in [0, 1]. label_probability, square_sum: (n,) float32, or None where not recorded.
    other_reading: (n,) int32, the answer under the other reading of a network that knows more classes than the store;
    None where there is none, or it was not recorded."""

    image_ids: tuple[str, ...]
    classes: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    label_probability: NDArray[np.float32] | None = None
    square_sum: NDArray[np.float32] | None = None
    other_reading: NDArray[np.int32] | None = None

    @property
    def predicted(self) -> NDArray[np.int32]:
        """(n,) most probable class."""
        return self.classes[:, 0]

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(n,) its probability."""
        return self.probabilities[:, 0]

    def with_label(self, labels: NDArray[np.integer], classes: int) -> Answers:
        """The same with label_probability and square_sum worked out, where all `classes` classes are listed."""
        if self.classes.shape[1] != classes:
            return self
        at_label = np.where(self.classes == labels[:, None], self.probabilities, 0.0).sum(axis=1)
        squares = np.square(self.probabilities.astype(np.float64)).sum(axis=1)
        return replace(self, label_probability=at_label.astype(np.float32), square_sum=squares.astype(np.float32))


@dataclass(frozen=True)
class PredictionsFile:
    """A predictions file that was read. model: name to show. metadata: {} for a file of other people. outputs: how many
    classes the model knows, at least the store's; None: these."""

    path: Path
    model: str
    metadata: dict[str, Any]
    conditions: dict[str, Answers]
    outputs: int | None = None

    @property
    def reading(self) -> Reading:
        """Among what the answers are."""
        return "store" if self.metadata.get("reading") == "store" else "all"

    def among(self, classes: int) -> int:
        """How many classes the answers are among, at a store of `classes` classes."""
        return self.outputs or classes if self.reading == "all" else classes


def from_probabilities(
    image_ids: Sequence[str],
    probabilities: NDArray[np.float32],
    labels: NDArray[np.integer],
    top_k: int | None,
    other_reading: NDArray[np.integer] | None = None,
) -> Answers:
    """Answers of class probabilities (n, N): the top k, ties by class index, and what scoring needs of the rest.
    other_reading: (n,) as of `Answers`."""
    order = _most_probable(probabilities, top_k or probabilities.shape[1])
    at_label = probabilities[np.arange(len(labels)), labels]
    squares = np.square(probabilities.astype(np.float64)).sum(axis=1)
    return Answers(
        tuple(image_ids),
        order.astype(np.int32),
        np.take_along_axis(probabilities, order, axis=1),
        at_label.astype(np.float32),
        squares.astype(np.float32),
        None if other_reading is None else other_reading.astype(np.int32),
    )


def _most_probable(probabilities: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """(n, k) columns of the largest values of each row in order, ties by column; without sorting all of a row."""
    if k >= probabilities.shape[1]:
        return np.argsort(-probabilities, axis=1, kind="stable")
    least = np.partition(probabilities, -k, axis=1)[:, -k]
    rows, columns = np.nonzero(probabilities >= least[:, None])  # k a row, and more where the last ones tie
    order = np.lexsort((columns, -probabilities[rows, columns], rows))
    starts = np.searchsorted(rows, np.arange(len(probabilities)))
    result: NDArray[np.intp] = columns[order][starts[:, None] + np.arange(k)]
    return result


def concatenated(parts: Sequence[Answers]) -> Answers:
    """Answers of different images under one condition, one after the other. The optional columns need be in all."""

    def optional(columns: list[NDArray[Any] | None]) -> NDArray[Any] | None:
        present = [c for c in columns if c is not None]
        return np.concatenate(present) if len(present) == len(columns) else None

    return Answers(
        tuple(i for part in parts for i in part.image_ids),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        optional([part.label_probability for part in parts]),
        optional([part.square_sum for part in parts]),
        optional([part.other_reading for part in parts]),
    )


def to_table(condition: str, answers: Answers, metadata: dict[str, Any]) -> Any:
    """Arrow table of one condition's answers."""
    n, k = answers.classes.shape
    offsets = pa.array(np.arange(0, (n + 1) * k, k, dtype=np.int32))
    columns = [
        pa.array(answers.image_ids, pa.string()),
        pa.array([condition] * n, pa.string()),
        pa.ListArray.from_arrays(offsets, pa.array(answers.classes.ravel(), pa.int32())),
        pa.ListArray.from_arrays(offsets, pa.array(answers.probabilities.ravel(), pa.float32())),
        *(
            pa.nulls(n, pa.float32()) if values is None else pa.array(values, pa.float32())
            for values in (answers.label_probability, answers.square_sum)
        ),
    ]
    schema = SCHEMA
    if answers.other_reading is not None:
        columns, schema = [*columns, pa.array(answers.other_reading, pa.int32())], SCHEMA.append(OTHER)
    return pa.Table.from_arrays(columns, schema=_with(schema, metadata))


def _with(schema: Any, metadata: dict[str, Any]) -> Any:
    return schema.with_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()})


def write_tables(path: Path, tables: Sequence[Any], metadata: dict[str, Any]) -> None:
    """Write tables of `to_table`, all of one model, one after the other, with a checksum of every page."""
    schema = _with(tables[0].schema if tables else SCHEMA, metadata)
    with (
        whole_file(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in tables:
            writer.write_table(table.replace_schema_metadata(schema.metadata))


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON object of a file's schema, {} if it has none. Raises SalientError if it is no Parquet file."""
    if not path.is_file():
        raise SalientError(f"{path}: no such file", expected="predictions, a Parquet file")
    try:
        stored = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise SalientError(f"{path}: not a predictions file", expected="Parquet", got=_first_line(error)) from error
    try:
        metadata = json.loads(stored.get(METADATA_KEY, b"{}"))
    except ValueError as error:
        raise SalientError(f"{path}: metadata is not JSON", got=str(error)) from error
    if not isinstance(metadata, dict):
        raise SalientError(f"{path}: metadata is not a JSON object", got=type(metadata).__name__)
    return metadata


def read_predictions(path: Path, classes: int) -> PredictionsFile:
    """Read and check a predictions file for a data set of `classes` classes.

    Raises SalientError, naming the file, for: no Parquet; columns missing; a class outside the data set, and outside
    what the file's network knows by its metadata; lists of different lengths within a condition; probabilities outside
    [0, 1], not descending or adding up to more than 1; an image twice in a condition.
    """
    metadata = read_metadata(path)
    present = pq.read_schema(path).names
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise SalientError(f"{path}: columns are missing", expected=", ".join(REQUIRED), got=f"no {missing[0]}")
    whole = SCHEMA.append(OTHER)
    wanted = [name for name in whole.names if name in present]
    try:
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        table = table.cast(pa.schema([whole.field(name) for name in wanted]))
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SalientError(f"{path}: columns are not as they should be", got=_first_line(error)) from error
    names = pc.unique(table["condition"]).to_pylist()
    model = metadata.get("model", {}).get("name") if isinstance(metadata.get("model"), dict) else None
    outputs = outputs_of(metadata.get("model"), classes)
    file = PredictionsFile(path, str(model or path.stem), metadata, {}, outputs)
    for name in names:
        part = table.filter(pc.equal(table["condition"], name)).combine_chunks()
        answers = _answers(part, f"{path}, condition {name}", file.among(classes))
        other = answers.other_reading
        if other is not None and not 0 <= other.min() <= other.max() < outputs:
            raise SalientError(f"{path}, condition {name}: other_reading outside the classes", got=str(other.max()))
        file.conditions[str(name)] = answers
    _check_distinct(path, list(file.conditions))
    return file


def _check_distinct(path: Path, names: Sequence[str]) -> None:
    """Refuse two names of one condition, such as noise_0.25 and noise_0.250: in curves one would take the other's
    place. What is no condition's name is refused where the file is scored."""
    seen: dict[str, str] = {}
    for name in names:
        try:
            own = Condition.parse(name).canonical.name
        except SalientError:
            continue
        if own in seen:
            raise SalientError(
                f"{path}: two names of one condition",
                expected=f"{own} once",
                got=f"{seen[own]} and {name}",
                then="leave one of them out",
            )
        seen[own] = name


def _answers(table: Any, where: str, classes: int) -> Answers:
    ids = tuple(table["image_id"].to_pylist())
    if len(set(ids)) != len(ids) or None in ids:
        raise SalientError(f"{where}: an image occurs twice or has no id", expected="each image once")
    indices, probabilities = (_matrix(table[c], where) for c in ("classes", "probabilities"))
    if indices.shape != probabilities.shape:
        raise SalientError(f"{where}: classes and probabilities differ in number")
    extra = {c: _numbers(table, c) for c in ("label_probability", "square_sum")}
    other = _numbers(table, OTHER.name)
    answers = Answers(
        ids,
        indices.astype(np.int32),
        probabilities.astype(np.float32),
        **extra,
        other_reading=None if other is None else other.astype(np.int32),
    )
    if answers.classes.min() < 0 or answers.classes.max() >= classes:
        worst = int(answers.classes.max() if answers.classes.max() >= classes else answers.classes.min())
        raise SalientError(f"{where}: class outside the data set", expected=f"0 to {classes - 1}", got=str(worst))
    ordered = np.sort(answers.classes, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise SalientError(f"{where}: a class occurs twice in one row")
    p = answers.probabilities
    shares = [v for v in (p.sum(axis=1), answers.label_probability, answers.square_sum) if v is not None]
    if (
        not np.isfinite(p).all()
        or p.min() < 0
        or any(not (v.min() >= 0 and v.max() <= 1 + SUM_TOLERANCE) for v in shares)
    ):
        raise SalientError(f"{where}: not probabilities", expected="numbers in [0, 1] that add up to at most 1")
    if (np.diff(p, axis=1) > 0).any():
        raise SalientError(f"{where}: not sorted", expected="the most probable class first")
    return answers


def _numbers(table: Any, column: str) -> NDArray[np.float32] | None:
    """A column as (n,), None where it is missing or has an empty value."""
    if column not in table.column_names or table[column].null_count:
        return None
    return np.asarray(table[column].to_numpy(), dtype=np.float32)


def _matrix(column: Any, where: str) -> NDArray[Any]:
    """A list column as (n, k)."""
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) != 1 or not lengths[0]:
        raise SalientError(
            f"{where}: lists of different length", expected="one length", got=str(sorted(map(str, lengths)))
        )
    flat = pc.list_flatten(column)
    if flat.null_count:
        raise SalientError(f"{where}: empty values in a list", expected="numbers")
    return np.asarray(flat.to_numpy(zero_copy_only=False) if isinstance(flat, pa.Array) else flat.to_numpy()).reshape(
        -1, lengths[0]
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

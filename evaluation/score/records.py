"""Frozen records to JSON and back, by their fields: one way for every result that is written and read again."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from salient_imagenet_data.errors import SalientError

T = TypeVar("T")


def to_json(record: Any) -> Any:
    """A record, and all records in it, as dicts, lists and plain values."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: to_json(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, dict):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_json(value) for value in record]
    return record


def plain(record: Any) -> dict[str, Any]:
    """A record as `to_json` writes it, with null where a figure is of no image, so NaN."""

    def without_nan(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_nan(part) for key, part in value.items()}
        if isinstance(value, list):
            return [without_nan(part) for part in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    found: dict[str, Any] = without_nan(to_json(record))
    return found


def from_json(kind: type[T], data: Any, where: str) -> T:
    """A record of a class from what `to_json` made of it. where: the file, for the error.

    Raises SalientError that names the field for one that is missing, unknown or of another type.
    """
    if not isinstance(data, dict):
        raise SalientError(f"{where}: not understood", expected=f"the fields of {kind.__name__}", got=_type(data))
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    types_ = typing.get_type_hints(kind)
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise SalientError(f"{where}.{unknown[0]}: unknown field", then="was it written by another version?")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(types_[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SalientError(f"{where}.{name}: missing", then="was it written by another version?")
    return kind(**values)


def _value(kind: Any, data: Any, where: str) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in parts:
            return None
        (inner,) = (part for part in parts if part is not type(None))
        return _value(inner, data, where)
    if origin is tuple:
        _check(data, list, where)
        return tuple(_value(parts[0], value, f"{where}[{i}]") for i, value in enumerate(data))
    if origin is dict:
        _check(data, dict, where)
        return {key: _value(parts[1], value, f"{where}.{key}") for key, value in data.items()}
    if origin is typing.Literal:
        if data not in parts:
            raise SalientError(where, expected=" or ".join(map(repr, parts)), got=repr(data)[:80])
        return data
    if dataclasses.is_dataclass(kind):
        return from_json(typing.cast(type[Any], kind), data, where)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if kind is not bool and isinstance(data, bool):
        raise SalientError(where, expected=kind.__name__, got=_type(data))
    _check(data, kind, where)
    return data


def _check(data: Any, kind: type[Any], where: str) -> None:
    if not isinstance(data, kind):
        raise SalientError(where, expected=kind.__name__, got=_type(data))


def _type(data: Any) -> str:
    return "null" if data is None else type(data).__name__

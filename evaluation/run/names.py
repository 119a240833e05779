"""What the files of a model are called. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from salient_imagenet_data.errors import SalientError


def stem_of(model: str) -> str:
    """What files of a model begin with: letters of any script, digits, dots and dashes of its name. Raises SalientError
    for a name without a letter or digit."""
    stem = re.sub(r"[^\w.]+|_+", "-", model).strip("-.")
    if not stem:
        raise SalientError(f"a model called {model!r}", expected="a name with a letter or a digit, for its file")
    return stem


def file_name(model: str) -> str:
    """The name of a model's predictions file. Raises SalientError as `stem_of`."""
    return stem_of(model) + ".parquet"


def check_names(models: Iterable[str]) -> None:
    """Before anything runs: raises SalientError where two models would write one file, capital letters or not."""
    taken: dict[str, str] = {}
    for model in models:
        other = taken.setdefault(file_name(model).casefold(), model)
        if other != model:
            raise SalientError(
                f"{model!r} and {other!r} would write one file",
                expected="names that differ in letters or digits",
                got=file_name(model),
                then="give each a --name",
            )

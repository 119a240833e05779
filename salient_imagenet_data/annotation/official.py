"""People's answers of the 2022 study, downloaded from the authors' repository. None of them is shipped."""

from __future__ import annotations

from collections.abc import Callable

import pooch

from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.verdicts import Annotations, summary
from salient_imagenet_data.errors import SalientError

COMMIT = "cedae0c94895c98a261a788a759db3246f6b09da"
URL = f"https://raw.githubusercontent.com/singlasahil14/salient_imagenet/{COMMIT}/mturk_results/discover_spurious_features.csv"
EXPECTED = {"answers": 25_000, "annotators": 265, "classes": 1000, "pairs": 5000, "spurious": 630, "core": 4370}
"""Counts of the file at that commit. Its sha256 is not pinned here: pass one to `fetch_official` to insist on it."""

LICENCE = (
    "The answers of Singla & Feizi (2022) come from github.com/singlasahil14/salient_imagenet, "
    "whose licence forbids passing on copies. They are downloaded for your own use; read the licence there."
)


def fetch_official(url: str = URL, *, sha256: str | None = None) -> Annotations:
    """The official answers, from a cache or the network; checked against the counts that the study reports.

    sha256: refuse any other file. Raises SalientError if the file cannot be had or is another.
    """
    try:
        path = pooch.retrieve(
            url, known_hash=f"sha256:{sha256}" if sha256 else None, path=pooch.os_cache("salient-imagenet-data")
        )
    except (OSError, ValueError) as error:
        raise SalientError(
            f"{url}: cannot be downloaded",
            got=f"{type(error).__name__}: {error}"[:200],
            then="download it yourself and give the file as --annotations",
        ) from error
    annotations = read_annotations(path)
    counts = summary(annotations)
    for key, expected in EXPECTED.items():
        if counts[key] != expected:
            raise SalientError(f"{path}: not the official answers", expected=f"{expected} {key}", got=str(counts[key]))
    return annotations


def annotations_of(name: str, tell: Callable[[str], None], url: str = URL) -> Annotations:
    """A file of answers, or `official`: those of the study, whose licence is told first.

    Raises SalientError if there is no such file, or it holds no answers.
    """
    if name != "official":
        return read_annotations(name)
    tell(LICENCE)
    return fetch_official(url)

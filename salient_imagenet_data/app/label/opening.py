"""From what a person gives to a desk: the store with its images, the file of answers, the plan."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.applying import check_pairs
from salient_imagenet_data.annotation.files import read_annotations
from salient_imagenet_data.annotation.sheets import Attack
from salient_imagenet_data.app.gallery import Gallery, encoded_jpeg
from salient_imagenet_data.app.label.assigning import Plan, drawn
from salient_imagenet_data.app.label.attacks import Attacks
from salient_imagenet_data.app.label.book import Book
from salient_imagenet_data.app.label.desk import WIDE_RANKS, Desk, checked_name, identity_of
from salient_imagenet_data.app.label.records import Pair, Task
from salient_imagenet_data.errors import SalientError, reason
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import join
from salient_imagenet_data.spreadsheets.reading import decoded
from salient_imagenet_data.store.reading import Store

SUFFIX = ".answers.sqlite"


def place_of_answers(store: str, given: Path | None) -> Path:
    """Where answers about a store are kept: beside its folder, or where somebody says. Raises SalientError for a store
    that is no folder here, without such a place."""
    if given is not None:
        return given
    folder = Path(store)
    if not folder.is_dir():
        raise SalientError(f"{store}: not a folder here, so nothing can lie beside it", expected="--answers FILE")
    folder = folder.resolve()
    return folder.with_name(folder.name + SUFFIX)


def open_desk(
    store: Store,
    source: ImageSource,
    answers: Path,
    *,
    annotator: str | None = None,
    per_pair: int | None = None,
    repeats: float = 0.05,
    generalise: int = 0,
    gold: Path | None = None,
    definitions: Path | None = None,
    order: Iterable[tuple[int, int]] | None = None,
    place: str | Path = "",
    attack: Attack | None = None,
) -> Desk:
    """All that the pages stand on.

    per_pair: people a pair, by default one with an annotator and five without. order: of all pairs; by default of class
    and rank. place: where the store is, as it was given (a folder, a name on the Hub or a URL): pages call it so, and
    answers are applied there. attack: makes feature attacks, in the background from now on. Raises
    SalientError where any of it does not fit.
    """
    if not store.features:
        raise SalientError(f"{store.path}: no features", expected="a store with features to look at")
    joined = join(store, source, missing="skip")
    pairs = tuple(Pair(f.class_index, f.feature_index) for f in store.features)
    plan = Plan(
        pairs if order is None else tuple(Pair(*pair) for pair in order),
        per_pair or (5 if annotator is None else 1),
        {} if gold is None else _gold(gold, store),
        repeats,
        drawn(_with_lower_images(store, pairs), generalise),
    )
    texts = {} if definitions is None else read_definitions(definitions)
    who = None if annotator is None else checked_name(annotator)
    desk = Desk(Gallery(joined), Book(answers, identity_of(store)), plan, texts, who, place)
    if attack is not None:
        desk.attacks = Attacks(attack, partial(_crops, desk), encoded_jpeg, plan.order)
        desk.attacks.start()
    return desk


def _crops(desk: Desk, pair: Pair) -> list[NDArray[np.uint8]]:
    """The network's own crops of a pair's highest images that are there."""
    return [crop for row in desk.rows_of(Task(pair, "first")) if (crop := desk.gallery.crop(row)) is not None]


def _with_lower_images(store: Store, pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs of classes that have images below the five highest."""
    counts = [0] * len(store.class_names)
    for label in store.rows.labels.tolist():
        counts[label] += 1
    return [pair for pair in pairs if counts[pair.class_index] >= WIDE_RANKS[0]]


def _gold(path: Path, store: Store) -> dict[Pair, str]:
    read = read_annotations(path)
    check_pairs(read.answers, store.features, path)
    known: dict[Pair, str] = {}
    for answer in read.answers:
        pair = Pair(answer.class_index, answer.feature_index)
        if known.setdefault(pair, answer.answer) != answer.answer:
            raise SalientError(
                f"{path}: two answers to class {pair[0]}, feature {pair[1]}", expected="one for a gold pair"
            )
    return known


def read_definitions(path: Path) -> dict[str, str]:
    """Texts by class name, from lines of a name and a text: a tab between, or, where there is none, a blank, as in
    ImageNet's gloss.txt and LOC_synset_mapping.txt. Raises SalientError for a file that is none."""
    try:
        lines = decoded(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SalientError(
            f"{path}: cannot be read", expected="lines of a name and a text", got=reason(error)
        ) from error
    found = {}
    for line in lines:
        name, _, text = line.strip().partition("\t" if "\t" in line else " ")
        if name and text.strip():
            found[name] = " ".join(text.split())
    if not found:
        raise SalientError(f"{path}: no definitions", expected="lines of a name and a text, a tab between")
    return found

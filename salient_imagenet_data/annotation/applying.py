"""Setting the kinds of a store's features from people's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.verdicts import Annotations, Verdict
from salient_imagenet_data.errors import SalientError, many, some
from salient_imagenet_data.imagenet import wnid_of_words
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import Folder, assets, hub_name
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.locating import STORE_FOLDER, locate
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.manifest import check_version
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.replacing import replace_features, settle

_FROM_VERDICTS = ("kind", "cue", "votes_main_object", "votes_separate_object", "votes_background", "reasons")
_UNJUDGED = Feature(0, "", 0, 1)


@dataclass(frozen=True)
class Changes:
    """What answers do to the features of a store, counted. lost: had a kind, and have no answer. changed: have another
    kind. given: had none, and get one."""

    lost: int
    changed: int
    given: int

    def line(self) -> str:
        """What becomes of kinds that were there, in one line; empty if all of them stay."""
        if not self.lost and not self.changed:
            return ""
        lose = "loses the kind it had" if self.lost == 1 else "lose the kind they had"
        return (
            f"{many(self.lost, 'feature')} {lose}, and {self.changed} {'gets' if self.changed == 1 else 'get'} another"
        )


def changes(before: Iterable[Feature], after: Iterable[Feature]) -> Changes:
    """What became of features, matched by class and feature."""
    kinds = {(f.class_index, f.feature_index): f.kind for f in before}
    pairs = [(kinds.get((f.class_index, f.feature_index)), f.kind) for f in after]
    return Changes(
        sum(old is not None and new is None for old, new in pairs),
        sum(old is not None and new not in (None, old) for old, new in pairs),
        sum(old is None and new is not None for old, new in pairs),
    )


def foreseen(store: Store, annotations: Annotations, majority: int) -> Changes:
    """What `annotate` would do. Raises SalientError where it would, for answers that do not fit."""
    after = with_verdicts(store.features, annotations.verdicts(majority), store.class_names)
    return changes(store.features, after)


def place_to_annotate(path: str | Path) -> Folder:
    """Where a store is changed. Raises SalientError for an export, a data set on the Hub, and a cache of what was
    downloaded: what is written there is no store of the user's, or is lost."""
    if hub_name(path) is not None:
        raise SalientError(
            f"{path}: a store on the Hub, which is only read",
            expected="a store in a folder",
            then="copy it to one, annotate that and publish it",
        )
    place = Folder.of(path)
    if place.path is None:
        there = place.names()
        if MANIFEST not in there and STORE_FOLDER in there:  # an export, whose store `Store` would read
            raise _store_in_it(path, place.child(STORE_FOLDER).place)
        return place
    inner = locate(place.path)
    if _is_export(inner):
        raise SalientError(
            f"{path}: not a store but an export of one",
            expected="the store itself",
            then="annotate that, then export or publish it again",
        )
    if place.path != inner:
        raise _store_in_it(path, inner)
    from huggingface_hub.constants import HF_HUB_CACHE

    if any(place.path.resolve().is_relative_to(cache.resolve()) for cache in (assets("stores"), Path(HF_HUB_CACHE))):
        raise SalientError(
            f"{path}: in the cache of what was downloaded, which is only read",
            expected="a store in a folder of yours",
            then="copy it to one and annotate that",
        )
    return place


def _store_in_it(path: object, inner: object) -> SalientError:
    return SalientError(f"{path}: a folder with a store in it", expected="the store itself", then=f"give {inner}")


def _is_export(store: Path) -> bool:
    """Whether a store is that of an export: its tables and a card stand beside it."""
    around = store.resolve().parent
    if store.resolve().name != STORE_FOLDER or not (around / "README.md").is_file():
        return False
    from salient_imagenet_data.table.configs import OF_STORE  # which brings all of `datasets`

    return all(any((around / table).glob("*.parquet")) for table in OF_STORE)


def annotate(
    path: str | Path, annotations: Annotations, *, majority: int = 3, data_version: str | None = None
) -> Store:
    """Set the kinds of a store's features from people's answers; no map is rebuilt. path: a folder, or a URL of fsspec.

    data_version: a new one, which a store needs that is already published. Table and manifest change at one instant:
    killed, it leaves the one state or the other. Raises SalientError for answers that do not fit, for a place that is
    only read (`place_to_annotate`), and on a disk if another process is writing there.
    """
    place = place_to_annotate(path)
    if place.path is None:
        _annotate(place, Store(path), annotations, majority, data_version)
        return Store(path)
    if not (place.path / MANIFEST).is_file():
        Store(path)  # says what is there instead
    with held(place.path):
        _annotate(place, Store(path), annotations, majority, data_version)
    return Store(path)


def _annotate(place: Folder, store: Store, annotations: Annotations, majority: int, data_version: str | None) -> None:
    new_version = data_version or store.manifest.data_version
    check_version(new_version)
    features = with_verdicts(store.features, annotations.verdicts(majority), store.class_names)
    settle(place, store.manifest, store.features_bytes)
    measured = annotations.generalised
    manifest = dataclasses.replace(
        store.manifest,
        annotations_sha256=annotations.sha256,
        majority=majority,
        generalisation={} if measured is None else dataclasses.asdict(measured),
        data_version=new_version,
    )
    replace_features(place, manifest, features)


def check_pairs(answers: Iterable[Answer], features: Iterable[Feature], file: str | Path) -> None:
    """Raises SalientError unless a store has the pair of each answer, under the rank and, where the answer has one, the
    class name that the answer gives. file: for the message."""
    names = {(f.class_index, f.feature_index, f.rank): f.class_name for f in features}
    unknown = [
        f"class {a.class_index}{f' ({a.class_name})' if a.class_name else ''}, feature {a.feature_index}, "
        f"rank {a.feature_rank}"
        for a in answers
        if (name := names.get((a.class_index, a.feature_index, a.feature_rank))) is None
        or (a.class_name and wnid_of_words(a.class_name) != wnid_of_words(name))
    ]
    if unknown:
        raise SalientError(f"{file}: pairs that the store does not have", got=some(unknown))


def with_verdicts(
    features: Iterable[Feature], verdicts: Iterable[Verdict], class_names: tuple[str, ...]
) -> tuple[Feature, ...]:
    """The features with kind, cue, votes and reasons of the verdicts; pairs without a verdict get null and no reasons.

    A class without any feature here (never predicted, or not in a release of some classes) leaves its verdicts
    unused. Raises SalientError for a verdict whose pair is not among the features of its class.
    """
    features = tuple(features)
    by_pair = {(v.class_index, v.feature_index): v for v in verdicts}
    known = {(f.class_index, f.feature_index) for f in features}
    filled = {c for c, _ in known}
    for pair, verdict in sorted(by_pair.items()):
        if verdict.class_index >= len(class_names):
            raise SalientError(f"annotations name class {verdict.class_index}", expected=f"0 to {len(class_names) - 1}")
        if verdict.class_name and verdict.class_name != class_names[verdict.class_index]:
            raise SalientError(
                f"annotations call class {verdict.class_index} {verdict.class_name!r}",
                expected=repr(class_names[verdict.class_index]),
                then="check that they belong to this data set",
            )
        if pair not in known and pair[0] in filled:
            raise SalientError(
                f"annotations name feature {pair[1]} for class {pair[0]} ({class_names[pair[0]]})",
                expected=f"one of {sorted(f for c, f in known if c == pair[0])}",
                then="were they made for another model?",
            )
    return tuple(_judged(f, by_pair.get((f.class_index, f.feature_index))) for f in features)


def _judged(feature: Feature, verdict: Verdict | None) -> Feature:
    changes: dict[str, Any] = {name: getattr(verdict or _UNJUDGED, name) for name in _FROM_VERDICTS}
    return dataclasses.replace(feature, **changes)

"""Where to look in a class, without masks: relevance of its units, sorts of its maps, and whether maps are to be
trusted; over the images of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.plan import left_out_in, rows_in
from salient_imagenet_data.evaluation.plan.regions import labels_of
from salient_imagenet_data.evaluation.relevance.agreement import agreement
from salient_imagenet_data.evaluation.relevance.clustering import cluster, normalised
from salient_imagenet_data.evaluation.relevance.measuring import Measured, measure
from salient_imagenet_data.evaluation.relevance.nominating import lacking, nominated
from salient_imagenet_data.evaluation.relevance.propagation import Propagation
from salient_imagenet_data.evaluation.relevance.records import Asked, OfClass, OfCluster, Relevance
from salient_imagenet_data.evaluation.relevance.table import same_network
from salient_imagenet_data.evaluation.run.found import images_found, say
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Images, opened
from salient_imagenet_data.looking import label_of
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.robust import robust_model
from salient_imagenet_data.store.features import Feature
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store

FEWEST = 12
"""Images of a class below which no clusters are looked for, unless their number is given."""


def relevance(
    classifier: Classifier,
    store: Store | str | Path,
    images: Images,
    classes: Sequence[str] = (),
    asked: Asked = Asked(),  # noqa: B008 - frozen
    settings: Settings = SMALL,
    report: Callable[[str], None] = say,
) -> Relevance:
    """Of some classes of a store, by their names or ImageNet's words; none: of all that have images.

    The network may be any that relevance can be propagated through; where it is the one the store was built with, its
    units are the store's features, and their maps are held against their relevance. report: is told what is left out.
    Raises SalientError for a class without images, and a network that will not do.
    """
    store, source = opened(store, images)
    if asked.clusters is not None and not 2 <= asked.clusters <= asked.per_class // 2:
        expected = f"2 to {asked.per_class // 2}, half of the images of a class"
        raise SalientError("so many clusters cannot be told apart", expected=expected, got=str(asked.clusters))
    model = robust_model(classifier)
    preprocessing = classifier.preprocessing or store.manifest.preprocessing
    own, notes = _own(classifier, store, preprocessing)
    for line in notes:
        report(line)
    propagation = Propagation(model, asked.rules).to(settings.device)
    labels = labels_of(store)
    there = rows_in(store, settings.fold, settings.left_out)
    chosen = [label_of(store.class_names, name) for name in classes] or np.unique(labels[there]).tolist()
    if len(propagation.weight) < len(store.class_names):
        raise SalientError(
            f"{classifier.name}: too few outputs",
            expected=f"{len(store.class_names)}",
            got=f"{len(propagation.weight)}",
        )
    found = []
    for label in dict.fromkeys(chosen):
        rows = there[labels[there] == label]
        if not len(rows):
            raise SalientError(f"class {store.class_names[label]!r}: no image of it here", expected="at least one")
        drawn = np.random.default_rng([settings.seed, label]).permutation(rows)[: asked.per_class]
        found.append(
            _of_class(propagation, preprocessing, store, source, label, np.sort(drawn), own, asked, settings, report)
        )
    return Relevance(
        dict(classifier.recorded),
        store.path.name,
        file_sha256(store.path / MANIFEST),
        str(settings.fold),
        left_out_in(store, settings.fold, settings.left_out),
        settings.seed,
        own,
        notes,
        asked,
        tuple(found),
    )


def _own(classifier: Classifier, store: Store, preprocessing: Preprocessing) -> tuple[bool, tuple[str, ...]]:
    """Whether units of the network are features of the store, on the same crop; what is to be told if not."""
    without = "so agreement of maps and relevance is left out"
    if not same_network(classifier.details, store.manifest):
        return False, (f"{classifier.name} is not the store's network: its units are no features of it, {without}",)
    if store.basis is not None:
        return False, (f"the store's features are no units but combinations of them, {without}",)
    if preprocessing != store.manifest.preprocessing:
        return False, (f"{classifier.name} sees another crop than the store's, {without}",)
    return True, ()


def _of_class(
    propagation: Propagation,
    preprocessing: Preprocessing,
    store: Store,
    source: ImageSource,
    label: int,
    rows: NDArray[np.int64],
    own: bool,
    asked: Asked,
    settings: Settings,
    report: Callable[[str], None],
) -> OfClass:
    joined = images_found(store, source, settings, rows, report)
    features = sorted((f for f in store.features if own and f.class_index == label), key=lambda f: f.slot)
    units = tuple(f.feature_index for f in features)
    name = display_names(store.class_names)[label]
    measured = measure(propagation, joined, preprocessing, label, units, settings, name)
    maps = store.maps[joined.rows] if features else None
    agreements = {
        f.slot: agreement(maps[:, f.slot], measured.own, place) for place, f in enumerate(features) if maps is not None
    }
    points = measured.maps.reshape(len(joined), -1) if asked.by == "maps" else measured.units
    fewest = FEWEST if asked.clusters is None else 2 * asked.clusters
    clustering = cluster(points, asked.clusters, seed=settings.seed) if len(joined) >= fewest else None
    clusters = () if clustering is None else _clusters(points, clustering.labels, measured, settings.seed)
    kept = tuple(joined.rows.tolist())
    ids = tuple(store.rows[row].image_id for row in kept)
    by_unit: dict[int, Feature] = {f.feature_index: f for f in features}
    return OfClass(label, name, kept, ids, measured, clustering, clusters, agreements, by_unit)


def _clusters(
    points: NDArray[np.float32], labels: NDArray[np.int64], measured: Measured, seed: int
) -> tuple[OfCluster, ...]:
    unit, maps = normalised(points), normalised(measured.maps.reshape(len(points), -1))
    found = []
    for k in range(int(labels.max()) + 1):
        items = np.flatnonzero(labels == k)
        away = ((unit[items] - unit[items].mean(axis=0)) ** 2).sum(axis=1)
        order = items[np.argsort(away, kind="stable")]
        mean = maps[items].mean(axis=0).reshape(measured.maps.shape[1:])
        more, less = (units(measured.units, labels == k, seed=seed) for units in (nominated, lacking))
        found.append(OfCluster(tuple(order.tolist()), mean, more, less))
    return tuple(found)

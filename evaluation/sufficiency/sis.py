"""Sufficient input subsets of several classifiers, of their ensemble, and of each with input dropout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from salient_imagenet_data.evaluation.run.images import Items
from salient_imagenet_data.evaluation.run.names import check_names, stem_of
from salient_imagenet_data.evaluation.run.settings import SMALL, Settings
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.classifiers import (
    check_members,
    check_probability,
    ensemble_of,
    with_input_dropout,
)
from salient_imagenet_data.evaluation.sufficiency.figures import Sufficiency
from salient_imagenet_data.evaluation.sufficiency.measure import Asked, measure_joined
from salient_imagenet_data.evaluation.sufficiency.orders import Orders
from salient_imagenet_data.evaluation.sufficiency.select import joined_images, mean_colour, select_joined
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Joined
from salient_imagenet_data.networks.classifiers import Classifier, told
from salient_imagenet_data.networks.opening import Opener
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import write_text

RESULTS = "sufficiency.json"


def sis(
    openers: dict[str, Opener],
    store: Store,
    source: ImageSource,
    folder: Path,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    asked: Asked = Asked(),  # noqa: B008 - frozen
    settings: Settings = SMALL,
    *,
    ensemble: bool = False,
    input_dropout: float | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, tuple[Orders, Sufficiency]]:
    """Orders of each classifier in a folder of its own below `folder`, and its figures; these also as `RESULTS` there.
    A classifier that knows more classes than the store answers among the store's.

    ensemble: also all of them as one. input_dropout: also each with that share of its input pixels dropped. report: is
    told whence normalisation and classes are, and how many images are missing. Raises SalientError as `select` does.
    """
    if ensemble:
        check_members(len(openers))
    if input_dropout is not None:
        check_probability(input_dropout)
    check_names(openers)
    joined = joined_images(store, source, settings, report)
    folder.mkdir(parents=True, exist_ok=True)
    colours: dict[Preprocessing, tuple[float, float, float]] = {}
    found = {}
    for classifier, of in _variants(openers, joined, choice, settings, ensemble, input_dropout, colours):
        asked.edge((classifier.preprocessing or store.manifest.preprocessing).crop)  # before hours of selection
        for line in told(classifier.details, classifier.preprocessing):
            report(line)
        place = folder / stem_of(classifier.name)
        orders = select_joined(classifier, joined, place, of, settings, overwrite=overwrite)
        found[classifier.name] = orders, measure_joined(classifier, orders, joined, asked, settings)
    results = {name: figures.to_json() for name, (_, figures) in found.items()}
    write_text(folder / RESULTS, json.dumps(results, indent=2) + "\n")
    return found


def _variants(
    openers: dict[str, Opener],
    joined: Joined,
    choice: Choice,
    settings: Settings,
    ensemble: bool,
    input_dropout: float | None,
    colours: dict[Preprocessing, tuple[float, float, float]],
) -> Iterator[tuple[Classifier, Choice]]:
    """Each classifier to look at, opened in its turn, with its fill: the mean colour of the images in its crop."""

    def filled(classifier: Classifier) -> tuple[Preprocessing, tuple[float, float, float]]:
        preprocessing = classifier.preprocessing or joined.store.manifest.preprocessing
        if choice.fill is not None:
            return preprocessing, choice.fill
        if preprocessing not in colours:
            colours[preprocessing] = mean_colour(Items(joined, preprocessing), settings)
        return preprocessing, colours[preprocessing]

    for name, opener in openers.items():
        classifier = replace(opener().among("store"), name=name)
        preprocessing, fill = filled(classifier)
        yield classifier, replace(choice, fill=fill)
        if input_dropout is not None:
            dropped = with_input_dropout(classifier, input_dropout, preprocessing.crop, fill, settings.seed)
            yield replace(dropped, name=f"{name} with input dropout"), replace(choice, fill=fill)
    if ensemble:
        together = ensemble_of([replace(opener().among("store"), name=name) for name, opener in openers.items()])
        yield together, replace(choice, fill=filled(together)[1])

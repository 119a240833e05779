"""Everything that a study measures of a network, on a part of a store's images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from salient_imagenet_data.evaluation.certificates.certify import certify
from salient_imagenet_data.evaluation.certificates.choices import Asked as AskedOfMasks
from salient_imagenet_data.evaluation.evaluate import evaluate
from salient_imagenet_data.evaluation.plan.plan import Conditions
from salient_imagenet_data.evaluation.run.settings import SMALL
from salient_imagenet_data.evaluation.saliency.alignment import align
from salient_imagenet_data.evaluation.saliency.curves import Curves
from salient_imagenet_data.evaluation.study.ground import Part
from salient_imagenet_data.evaluation.study.measures import CURVES_OF, PROTOCOLS, SALIENCIES, Looked
from salient_imagenet_data.evaluation.study.plan import Plan
from salient_imagenet_data.evaluation.sufficiency.choices import Choice
from salient_imagenet_data.evaluation.sufficiency.figures import Sufficiency
from salient_imagenet_data.evaluation.sufficiency.measure import Asked, measure
from salient_imagenet_data.evaluation.sufficiency.select import select
from salient_imagenet_data.networks.classifiers import Classifier


def look(classifier: Classifier, part: Part, plan: Plan) -> Looked:
    """The figures of a classifier on a part of a store's images; its network has no gradients afterwards. What is drawn
    is the same for every classifier. Raises SalientError for a store or a classifier that one of the measures will not
    do with."""
    images = part.store, part.source
    settings = part.within(replace(SMALL, device=plan.device))
    few = part.few(plan.few)
    return Looked(
        plan.sigma,
        evaluate(classifier, *images, Conditions(PROTOCOLS, (plan.sigma,), controls=False), settings),
        {method: align(classifier, *images, saliency=method, settings=settings) for method in SALIENCIES},
        _curves(classifier, few, plan),
        _subsets(classifier, few, plan),
        certify(classifier, *images, AskedOfMasks(steps=0), settings),
    )


def _curves(classifier: Classifier, few: Part, plan: Plan) -> Curves:
    settings = few.within(replace(SMALL, device=plan.device))
    found = align(
        classifier, few.store, few.source, saliency=CURVES_OF, curves=plan.curve_steps, settings=settings
    ).curves
    assert found is not None  # they were asked for
    return found


def _subsets(classifier: Classifier, few: Part, plan: Plan) -> Sufficiency:
    """Where the pixels lie that suffice. The orders are not kept."""
    settings = few.within(replace(SMALL, device=plan.device))
    side = (classifier.preprocessing or few.store.manifest.preprocessing).crop
    step = max(1, round((side // plan.cell) ** 2 / plan.subset_steps))
    choice = Choice(cell=plan.cell, step=step, wrong_class=False)
    with TemporaryDirectory() as folder:
        orders = select(classifier, few.store, few.source, Path(folder) / "orders", choice, settings)
        asked = Asked(plan.threshold, shares=(), dilations=())
        return measure(classifier, orders, few.store, few.source, asked, settings)

"""Evaluate classifiers on a store: infer, then score."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.evaluation.plan.plan import Plan, make_plan
from salient_imagenet_data.evaluation.run.infer import Settings, answers_of, infer
from salient_imagenet_data.evaluation.run.predictions import Answers, PredictionsFile, concatenated
from salient_imagenet_data.evaluation.score.results import Failure, ModelResult
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.folds import WHOLE, Fold
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Missing, join
from salient_imagenet_data.loaders.corruption.records import corruption_of
from salient_imagenet_data.networks.classifiers import Classifier, Model, told
from salient_imagenet_data.networks.opening import Opener
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.reading import Store


@dataclass(frozen=True)
class Conditions:
    """What is run. protocols: names. sigmas: levels of Gaussian noise on the [0, 1] scale. corruptions: others, by
    name. controls: also on area-matched random regions and other images' masks. single_features: also one feature at
    a time. boxes: also the regions' bounding boxes. trials: of what is random, where the protocol gives a ratio. fold:
    the part of the store's images that is evaluated."""

    protocols: Sequence[str] = ("iclr2022",)
    sigmas: Sequence[float] = (0.25,)
    corruptions: Sequence[str] = ()
    controls: bool = True
    single_features: bool = False
    boxes: bool = False
    trials: int = 1
    fold: Fold = WHOLE

    def plan(self, store: Store) -> Plan:
        """The plan for a store. Raises SalientError for levels, names or a store that will not do."""
        if not self.sigmas or not all(0 < sigma <= 1 for sigma in self.sigmas):
            expected = "one or more numbers above 0 and at most 1, the span of an image's values"
            raise SalientError(
                "noise levels", expected=expected, got=", ".join(f"{s:g}" for s in self.sigmas) or "none"
            )
        names = [f"noise_{sigma:g}" for sigma in self.sigmas] + list(self.corruptions)
        distinct = list(dict.fromkeys(corruption_of(name).name for name in names))
        return make_plan(
            store,
            self.protocols,
            distinct,
            controls=self.controls,
            single_features=self.single_features,
            boxes=self.boxes,
            trials=self.trials,
            fold=self.fold,
        )


def evaluate(
    model: Model,
    store: Store,
    source: ImageSource,
    *,
    protocols: Sequence[str] = ("iclr2022",),
    sigmas: Sequence[float] = (0.25,),
    corruptions: Sequence[str] = (),
    controls: bool = True,
    single_features: bool = False,
    boxes: bool = False,
    trials: int = 1,
    fold: Fold = WHOLE,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    missing: Missing = "error",
    device: str = "cpu",
) -> ModelResult:
    """Evaluate one classifier over images in [0, 1] in the store's crop frame; nothing is written.

    `result.left("core_accuracy", 0.25)` is the condition whose accuracy is the core accuracy of "iclr2022" at that
    noise level, None where no class has a spurious feature; "spurious_accuracy" likewise. Raises SalientError for a
    model of another number of classes.
    """
    plan = Conditions(protocols, sigmas, corruptions, controls, single_features, boxes, trials, fold).plan(store)
    joined = join(store, source, missing=missing, rows=plan.rows.tolist())
    settings = Settings(batch_size, workers, seed, device)
    found: dict[str, list[Answers]] = {}
    for _, batch in answers_of(Classifier("model", model), joined, plan, settings, plan.conditions):
        for name, answers in batch.items():
            found.setdefault(name, []).append(answers)
    conditions = {name: concatenated(parts) for name, parts in found.items()}
    file = PredictionsFile(Path("model"), "model", {"seed": seed, "fold": str(fold)}, conditions)
    return score(file, store)


def run_models(
    openers: dict[str, Opener],
    store: Store,
    source: ImageSource,
    plan: Plan,
    folder: Path,
    settings: Settings,
    *,
    missing: Missing = "error",
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list[PredictionsFile], list[Failure]]:
    """Predictions of several models, one file each in `folder`; a model that fails is reported and the others go on.

    openers: by name, each called when its turn comes, so that one model is in memory at a time. report: called with a
    line when a model is done or has failed. Returns the files and the failures. Raises
    SalientError where images are missing, which no model can mend, or another process writes into the folder.
    """
    joined = join(store, source, missing=missing, rows=plan.rows.tolist())
    if joined.missing:
        report(f"{len(joined.missing)} images are missing and left out, such as {joined.missing[0]}")
    files, failed = list[PredictionsFile](), list[Failure]()
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):  # two runs would take each other's parts for their own
        for name, opener in openers.items():
            try:
                opened = opener()
                for line in told(opened.details):
                    report(line)
                done = infer(opened, joined, plan, folder / file_name(name), settings, overwrite=overwrite)
                files.append(done)
                report(f"{name}: {len(done.conditions[CLEAN].image_ids)} images, {len(done.conditions)} conditions")
            except Exception as error:  # a stranger's model may raise anything, and the others are to go on
                failed.append(Failure(name, one_line(error)))
                report(f"{name}: failed: {failed[-1].reason}")
    return files, failed


def file_name(model: str) -> str:
    """The name of a model's predictions file: letters, digits, dots and dashes of the model's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-.") + ".parquet"


def one_line(error: Exception) -> str:
    """An exception in one line; its type stands before it unless it was made to be read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if isinstance(error, SalientError) else f"{type(error).__name__}: {text}"

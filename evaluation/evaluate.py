"""Evaluate classifiers on a store: infer, then score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.condition import CLEAN
from salient_imagenet_data.evaluation.plan.plan import USUAL, Conditions, Plan
from salient_imagenet_data.evaluation.run.found import images_found, images_to_swap_in
from salient_imagenet_data.evaluation.run.images import swaps
from salient_imagenet_data.evaluation.run.infer import answers_of, infer
from salient_imagenet_data.evaluation.run.names import check_names, file_name
from salient_imagenet_data.evaluation.run.predictions import Answers, PredictionsFile, concatenated, read_predictions
from salient_imagenet_data.evaluation.run.settings import DEFAULT, Settings
from salient_imagenet_data.evaluation.score.results import Failure, ModelResult
from salient_imagenet_data.evaluation.score.scoring import score
from salient_imagenet_data.images.source import ImageSource
from salient_imagenet_data.joining import Images, Joined, opened
from salient_imagenet_data.networks.classifiers import Classifier, Model, told
from salient_imagenet_data.networks.opening import Opener, asked
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.reading import Store


def evaluate(
    model: Model | Classifier,
    store: Store | str | Path,
    images: Images,
    conditions: Conditions = USUAL,
    settings: Settings = DEFAULT,
) -> ModelResult:
    """Evaluate one classifier over images in [0, 1] in the store's crop frame; nothing is written.

    model: of the store's classes, or, as `open_network` gives it with the store's class names, of more. store, images:
    opened, or what `Store` and `images_of` open. `result.left("core_accuracy", 0.25)` is the condition whose accuracy
    is the core accuracy of "iclr2022" at that noise level, None where no class has a spurious feature;
    "spurious_accuracy" likewise. Of the images that the settings leave out no figure is, but they are answered. Raises
    SalientError for a model of another number of classes.
    """
    store, source = opened(store, images)
    plan = conditions.plan(store, settings.fold, settings.left_out)
    joined = images_found(store, source, settings, plan.rows)
    pool = images_to_swap_in(joined, settings) if swaps(plan.conditions) else None
    found: dict[str, list[Answers]] = {}
    classifier = model if isinstance(model, Classifier) else Classifier("model", model)
    for _, batch in answers_of(classifier, joined, plan, settings, plan.conditions, pool=pool):
        for name, answers in batch.items():
            found.setdefault(name, []).append(answers)
    metadata = {"seed": settings.seed, "fold": str(plan.fold), "reading": settings.classes}
    whole = {name: concatenated(parts) for name, parts in found.items()}
    outputs = classifier.outputs(len(store.class_names))
    return score(PredictionsFile(Path("model"), classifier.name, metadata, whole, outputs), store, settings.left_out)


def run_models(
    openers: dict[str, Opener],
    store: Store,
    source: ImageSource,
    plan: Plan,
    folder: Path,
    settings: Settings,
    *,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[list[PredictionsFile], list[Failure]]:
    """Predictions of several models, one file each in `folder`; a model that fails is reported and the others go on.

    openers: by name, each called when its turn comes, so that one model is in memory at a time. report: called with a
    line when a model is done or has failed. Returns the files and the failures. Raises
    SalientError where images are missing, which no model can mend, or another process writes into the folder.
    """
    check_names(openers)
    joined = images_found(store, source, settings, plan.rows, report)
    pool = images_to_swap_in(joined, settings, report) if swaps(plan.conditions) else None
    files, failed = list[PredictionsFile](), list[Failure]()
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):  # two runs would take each other's parts for their own
        for name, opener in openers.items():
            try:
                opened = opener()
                for line in told(opened.details, opened.preprocessing):
                    report(line)
                questions = asked(opened)
                if questions is not None:
                    report(f"{name}: {cost(len(questions.prompts), joined, plan)}")
                path = folder / file_name(name)
                done = infer(opened, joined, plan, path, settings, pool=pool, overwrite=overwrite)
                files.append(done)
                if questions is not None:
                    report(f"{name}: {questions.told()}")
                report(f"{name}: {len(done.conditions[CLEAN].image_ids)} images, {len(done.conditions)} conditions")
            except Exception as error:  # a stranger's model may raise anything, and the others are to go on
                failed.append(Failure(name, one_line(error)))
                report(f"{name}: failed: {failed[-1].reason}")
    return files, failed


def cost(questions: int, joined: Joined, plan: Plan) -> str:
    """What a model is asked that answers one question after the other, in words, before it begins."""
    rows = [plan.rows, *(plan.regions[condition.region].rows for condition in plan.conditions)]
    shown = sum(len(np.intersect1d(each, joined.rows)) for each in rows)
    return (
        f"{questions} questions about {shown} images under {len(rows)} conditions, {questions * shown} answers, "
        "less those that are there"
    )


def earlier(
    folder: Path, files: Sequence[PredictionsFile], store: Store, report: Callable[[str], None]
) -> list[PredictionsFile]:
    """Predictions of other models that a folder holds already, of the same store as `files`, the same part of its
    images and the same reading of answers; those that are not are told and left out."""
    mine = {file.path.name for file in files}
    wanted = {key: files[0].metadata.get(key) for key in ("store_sha256", "fold", "reading")}
    found = []
    for path in sorted(folder.glob("*.parquet")):
        if path.name in mine:
            continue
        other = read_predictions(path, len(store.class_names))
        if all(other.metadata.get(key) == value for key, value in wanted.items()):
            found.append(other)
        else:
            report(
                f"{path}: predictions among other classes, on another store, or another part of its images: "
                "not in this report"
            )
    return found


def one_line(error: Exception) -> str:
    """An exception in one line; its type stands before it unless it was made to be read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if isinstance(error, SalientError) else f"{type(error).__name__}: {text}"

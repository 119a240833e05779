"""One answer about a model, before all tables: what it loses without the core, and without the spurious pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from salient_imagenet_data.evaluation.plan.vocabulary import corruption_words
from salient_imagenet_data.evaluation.score.results import Claim, ModelResult
from salient_imagenet_data.names import CORE, SPURIOUS


@dataclass(frozen=True)
class Answer:
    """name: as short as tells it from the other models. core, spurious: what the model loses when those pixels are
    corrupted, each None where the store has no such features or it was not run. sentence: what that means. notes: what
    stands against reading the figures as they are: another frame than the network's own, chance level, saturated
    ratios."""

    name: str
    core: Claim | None
    spurious: Claim | None
    sentence: str
    notes: tuple[str, ...]


def answers(models: Sequence[ModelResult], classes: int) -> list[Answer]:
    """One answer a model. classes: of the store."""
    names = short_names([model.name for model in models])
    unlike = len({_among(model, classes) for model in models}) > 1
    return [answer(model, name, classes, unlike=unlike) for model, name in zip(models, names, strict=True)]


def _among(model: ModelResult, classes: int) -> int:
    """How many classes the answers are among."""
    return model.outputs if model.reading == "all" else classes


def _readings(model: ModelResult, classes: int) -> str:
    """What the other reading of the answers would say."""
    more, all_, store = model.outputs - classes, model.by_reading["all"].value, model.by_reading["store"].value
    outside = f"{model.outside} of {model.images} clean answers are"
    if model.reading == "all":
        return (
            f"It answers among its {model.outputs} classes; the store has not {more} of them, and {outside} such. "
            f"Among the store's {classes} alone its clean accuracy is {store:.3f}."
        )
    return (
        f"It answers among the store's {classes} classes alone, of the {model.outputs} that it knows. Among all its "
        f"clean accuracy is {all_:.3f}, and {outside} of classes that the store has not."
    )


def answer(model: ModelResult, name: str, classes: int, *, unlike: bool = False) -> Answer:
    """The answer about a model, under the last corruption that was run on both kinds of pixels: of noise levels, the
    strongest. unlike: models beside it answer among another number of classes."""
    core, spurious = _strongest(model.controls, CORE), _strongest(model.controls, SPURIOUS)
    if core is not None and spurious is not None:
        core = next((c for c in model.controls if (c.corruption, c.region) == (spurious.corruption, CORE)), core)
    notes = []
    if model.frame:
        notes.append(f"It saw images in the store's frame, {model.frame}: published results are of its own.")
    if model.by_reading:
        notes.append(_readings(model, classes))
    if unlike:
        notes.append(
            f"It answers among {_among(model, classes)} classes, others here among another number, which makes "
            "mistakes more or less likely: --classes store compares alike."
        )
    if model.clean_accuracy.low <= 1.0 / _among(model, classes):
        notes.append("Its clean accuracy is that of guessing: nothing it loses says what it relies on.")
    if any(row.saturated for rows in model.ratios.values() for row in rows if not row.control):
        notes.append("A ratio is saturated: one of its two accuracies is perfect, so it says nothing of the other.")
    return Answer(name, core, spurious, _sentence(model, core, spurious), tuple(notes))


def _strongest(claims: Sequence[Claim], region: str) -> Claim | None:
    mine = [claim for claim in claims if claim.region == region]
    return max(mine, key=lambda claim: _level(claim.corruption), default=None)


def _level(corruption: str) -> float:
    """Noise levels in their order; other corruptions before them."""
    try:
        return float(corruption.removeprefix("noise_"))
    except ValueError:
        return -1.0


def _sentence(model: ModelResult, core: Claim | None, spurious: Claim | None) -> str:
    parts = [f"Clean accuracy {model.clean_accuracy.value:.3f}."]
    found = [(kind, claim) for kind, claim in ((CORE, core), (SPURIOUS, spurious)) if claim is not None]
    for kind, claim in found:
        parts.append(f"With {corruption_words(claim.corruption)} on the {kind} pixels it {_words(claim)}.")
    shown = [kind for kind, claim in found if claim.shown]
    hidden = [kind for kind, claim in found if claim.shown is False]
    if shown:
        parts.append(f"So it relies on {' and '.join(shown)} pixels.")
    placed = [kind for kind, claim in found if claim.shown and _as_much_elsewhere(claim)]
    if placed:
        masks = f"{' or '.join(placed)} mask"
        parts.append(f"Another image's {masks} costs as much, so the shape or place of the mask may be what matters.")
    if hidden:
        parts.append(f"Reliance on {' and '.join(hidden)} pixels is not shown.")
    gap = model.spurious_gap
    if gap is not None and gap.low > 0.0:
        shown_least = "the images of each class that show its spurious features least"
        but = "But on" if SPURIOUS in hidden else "On"
        parts.append(f"{but} {shown_least} its accuracy is {gap.value:.3f} lower than on those that show them most.")
    return " ".join(parts)


def _words(claim: Claim) -> str:
    gains = round(claim.drop.value, 3) < 0
    words = f"{'gains' if gains else 'loses'} {abs(claim.drop.value):.3f}"
    if claim.random is None:
        return words + ", and no control was run"
    excess = -claim.random.excess.value if gains else claim.random.excess.value
    return words + f", {abs(excess):.3f} {'more' if excess >= 0 else 'less'} than on as many pixels elsewhere"


def _as_much_elsewhere(claim: Claim) -> bool:
    return claim.other is not None and claim.other.excess.low <= 0.0


def short_names(names: Sequence[str]) -> list[str]:
    """Names of models as short as tells them apart: the last parts of paths, more of them where two would be alike."""
    parts = [name.replace("\\", "/").split("/") for name in names]
    for length in range(1, max(map(len, parts), default=1)):
        short = ["/".join(part[-length:]) for part in parts]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)


def lines(model: Answer) -> str:
    """The answer in lines of text, for a terminal."""
    rows = [f"{model.name}: {model.sentence}", *(f"  note: {note}" for note in model.notes)]
    for what, claim in (("without the core", model.core), ("without the spurious", model.spurious)):
        if claim is not None:
            beyond = "" if claim.random is None else f"   beyond the control {claim.random.excess.words}"
            rows.append(f"  {what:<22} loses {claim.drop.words}{beyond}")
    return "\n".join(rows)

"""Which published result is of which of our models: by timm's name, never by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from salient_imagenet_data.errors import SalientError, some
from salient_imagenet_data.evaluation.published.tables import Key, Shift

HUB = "hf-hub:timm/"
"""Before a name where timm's weights are asked for on the Hub."""


@dataclass(frozen=True)
class Joined:
    """The published model that one of ours is. note: what was taken for granted, or ""."""

    key: Key
    note: str


def joined(
    models: Mapping[str, Mapping[str, Any]], shifts: Sequence[Shift], same_as: Mapping[str, str]
) -> tuple[dict[str, Joined], dict[str, str]]:
    """The published model of each of ours, and why the others have none.

    models: what is recorded of ours (spec, weights, preprocessing), by name. same_as: what the user says: our name to
    timm's. `timm:NAME` with timm's own weights is NAME of the tables; a name without a tag, such as timm:resnet50, that
    of the weights which timm took, or, where that was not recorded, the one model of any tag, if there is only one.
    With weights of one's own a network is another than timm's, and so are those of other libraries, unless the user
    says which they are. Where nothing is recorded, as in other people's predictions, a name of ours that is one of
    timm's is that.
    """
    known = dict.fromkeys(key for shift in shifts for key in shift.pairs)
    names = dict.fromkeys(key.model for key in known)
    found, missing = {}, {}
    for ours, record in models.items():
        note = ""
        if ours in same_as:
            theirs = same_as[ours]
        else:
            theirs, note, why = _by_spec(ours, record, names)
            if why:
                missing[ours] = why
                continue
        if theirs not in names:
            missing[ours] = f"{theirs} stands in no table, or not in both of a shift"
            continue
        sizes = [key.size for key in known if key.model == theirs]
        size, remark, why = _size(sizes, _crop(record))
        if why:
            missing[ours] = f"{theirs} {why}"
        else:
            found[ours] = Joined(Key(theirs, size), "; ".join(part for part in (note, remark) if part))
    return found, missing


def check_same_as(same_as: Mapping[str, str], ours: Sequence[str], shifts: Sequence[Shift]) -> None:
    """Raises SalientError for a name that no evaluation, or no table, has."""
    theirs = tuple(dict.fromkeys(key.model for shift in shifts for key in shift.pairs))
    for own, other in same_as.items():
        if own not in ours:
            raise SalientError(f"--as {own}={other}: no such evaluation", expected=f"one of {some(tuple(ours))}")
        if other not in theirs:
            near = tuple(name for name in theirs if name.partition(".")[0] == other.partition(".")[0])
            raise SalientError(
                f"--as {own}={other}: no table has this model", expected=f"such as {some(near or theirs)}"
            )


def _by_spec(ours: str, record: Mapping[str, Any], names: Mapping[str, None]) -> tuple[str, str, str]:
    """timm's name, what was taken for granted, and why there is none."""
    spec = str(record.get("spec", ""))
    if not spec and ours in names:
        return ours, f"{ours} by its name alone", ""
    if not spec.startswith("timm:"):
        return "", "", f"{spec} is not timm's" if spec else "nothing says which network it is"
    if record.get("weights_sha256"):
        return "", "", f"{spec} with weights of its own, which need not be timm's"
    name = str(record.get("pretrained") or spec.removeprefix("timm:").removeprefix(HUB))
    if name in names or "." in name:
        return name, "", ""
    tagged = tuple(other for other in names if other.partition(".")[0] == name)
    if len(tagged) == 1:
        return tagged[0], f"{spec} taken for {tagged[0]}, the only one of its name", ""
    return name, "", f"{spec} may be any of {some(tagged)}" if tagged else ""


def _crop(record: Mapping[str, Any]) -> int | None:
    preprocessing = record.get("preprocessing")
    crop = preprocessing.get("crop") if isinstance(preprocessing, Mapping) else None
    return crop if isinstance(crop, int) else None


def _size(sizes: Sequence[int | None], crop: int | None) -> tuple[int | None, str, str]:
    """Which of a model's sizes in the tables is ours, a remark, and why none is."""
    if len(sizes) == 1:
        (size,) = sizes
        differs = None not in (size, crop) and size != crop
        return size, f"published at {size} pixels, evaluated at {crop}" if differs else "", ""
    if crop in sizes:
        return crop, "", ""
    at = ", ".join(str(size) for size in sizes)
    return None, "", f"is published at {at} pixels, and evaluated at {crop or 'none that is known'}"

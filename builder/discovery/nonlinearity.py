"""What stands between an autoencoder's encoder and decoder, as its file says, or a configuration beside it.

A rectified and a top-k autoencoder have the same tensors, so the tensors cannot tell. One that says it is of another
kind is refused; one that says nothing is read as rectified, which is told (`ReadAs.line`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from salient_imagenet_data.errors import SalientError

CONFIGS = ("cfg.json", "config.json")
"""Where SAELens and others say beside the weights what they are; a file of the weights' own name comes before."""
OTHER_KINDS = ("topk", "jumprelu", "gated", "transcoder")
"""Of autoencoders, as configurations call them; letters only."""
ABOUT_KIND = ("activation", "architecture", "type", "kind", "class")
"""In the names of the fields that say it: an aggregated data set is no gated autoencoder."""
ACTIVATIONS = ("activation", "activationfn", "activationfnstr", "activationfunction", "activationname", "nonlinearity")
"""Fields whose value is the function itself, letters only: another than a rectifier is refused."""
PLAIN = {"architecture": ("standard", "vanilla", "relu"), "dictclass": ("autoencoder",)}
"""Words of other fields for a rectified autoencoder: SAELens, dictionary_learning. Other words there may be about
anything, such as the network."""
NORMALISED = "normalizeactivations"
"""SAELens: neurons are scaled before they are encoded."""
NOT_TAKEN_OFF = "applybdectoinput"
"""SAELens: whether the decoder's bias is taken off the neurons before they are encoded."""
NOBODY = "neither the file nor a configuration beside it says so"


@dataclass(frozen=True)
class ReadAs:
    """ground: why an autoencoder is read as rectified, in words. said: whether anybody says that it is one. centred:
    whether its decoder's bias is taken off the neurons first."""

    ground: str
    said: bool
    centred: bool = True

    def line(self, place: str) -> str:
        """What a person should hear of it."""
        bias = "" if self.centred else "; b_dec is not taken off the neurons, as a configuration says"
        if self.said:
            return f"{place}: read as rectified: {self.ground}{bias}"
        return (
            f"warning: {place}: read as rectified, and {self.ground}; a top-k autoencoder has the same tensors, and "
            f"other latents: if it is a rectified one, say {_option(place)}{bias}"
        )


def read_as_of(path: str, sources: Sequence[tuple[str, str]], *, told: bool) -> ReadAs:
    """How the autoencoder at `path` is read. sources: names and texts, JSON or any, of what may say it, the nearest
    first. told: the user says that it is rectified.

    Raises SalientError where one of them names another kind, or a k, where the nearest that names an activation names
    no rectifier and the user does not say otherwise, and where neurons are to be normalised first.
    """
    ground, centred = "--basis says relu" if told else "", True
    for name, text in sources:
        for key, found in _pairs(_plain(text)):
            letters, where = _letters(key), f"{key} {found} in {name}"
            if _other_kind(key, letters, found):
                raise _refused(path, where, "its latents would be others if they were read as rectified")
            if letters == NORMALISED and _word(found) not in ("", "none", "false"):
                raise SalientError(
                    f"{path}: an autoencoder of neurons that are scaled first",
                    expected="one of the neurons as they are",
                    got=where,
                    then="fold the scale into its encoder and decoder, and drop the field",
                )
            if letters == NOT_TAKEN_OFF and _word(found) == "false":
                centred = False
            if not isinstance(found, str) or not found or ground:
                continue
            if letters in ACTIVATIONS and _word(found) != "relu":
                raise _refused(path, where, f"if that is of something else, say {_option(path)}")
            if letters in ACTIVATIONS or _word(found) in PLAIN.get(letters, ()):
                ground = where
    return ReadAs(ground or NOBODY, bool(ground), centred)


def _option(place: str) -> str:
    """What says it, as it is typed."""
    return shlex.join(["--basis", f"sae:{place},relu"])


def _refused(path: str, got: str, then: str) -> SalientError:
    return SalientError(
        f"{path}: an autoencoder of another kind",
        expected="a rectifier between encoder and decoder",
        got=got,
        then=then,
    )


def _other_kind(key: str, letters: str, found: object) -> bool:
    """Whether a field names another kind of autoencoder, switches one on, or says how many latents count."""
    about = isinstance(found, str) and any(part in key.lower() for part in ABOUT_KIND)
    named = about and any(kind in _letters(str(found)) for kind in OTHER_KINDS)
    switched = found is True and any(kind in letters for kind in OTHER_KINDS)
    return named or switched or (letters in ("k", "topk") and type(found) is int)


def _letters(text: str) -> str:
    return re.sub("[^a-z]", "", text.lower())


def _word(found: object) -> str:
    """The last name in a value: relu of torch.nn.ReLU(), and leaky_relu whole."""
    words: list[str] = re.findall("[a-z0-9_]+", str(found).lower())
    return words[-1] if words else ""


def _plain(text: str) -> object:
    """What JSON says, or the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, however deep. A text inside that is JSON counts as what it says."""
    if isinstance(value, dict):
        for key, inner in value.items():
            inner = _plain(inner) if isinstance(inner, str) else inner
            yield str(key), inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)

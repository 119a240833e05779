"""The one place where a network is opened, from a spec, a file of weights, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from torch import nn

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import OWN_FRAME
from salient_imagenet_data.networks.checkpoint import Checkpoint, fetch, read_checkpoint
from salient_imagenet_data.networks.classes import AGREED, ClassMap, match_classes
from salient_imagenet_data.networks.classifiers import Classifier, Normalised, Reordered, in_order
from salient_imagenet_data.networks.identity import check_finite, state_sha256
from salient_imagenet_data.networks.openers.clip import open_clip
from salient_imagenet_data.networks.openers.corrected import correct
from salient_imagenet_data.networks.openers.function import open_function
from salient_imagenet_data.networks.openers.hf import open_hf
from salient_imagenet_data.networks.openers.labels import read_labels
from salient_imagenet_data.networks.openers.opened import Opened, needed
from salient_imagenet_data.networks.openers.published import called_as, download, published
from salient_imagenet_data.networks.openers.records import Published
from salient_imagenet_data.networks.openers.timm import open_timm
from salient_imagenet_data.networks.openers.torchvision import open_torchvision
from salient_imagenet_data.networks.openers.vlm import open_vlm
from salient_imagenet_data.networks.smallnet import SmallNetModel, read_smallnet
from salient_imagenet_data.networks.words.answering import YesNo
from salient_imagenet_data.networks.words.asking import Asking
from salient_imagenet_data.store.reading import Store

OPENERS: dict[str, Callable[[str, tuple[str, ...] | None, Checkpoint | None], Opened]] = {
    "timm": open_timm,
    "torchvision": open_torchvision,
    "hf": open_hf,
    "clip": open_clip,
    "vlm": open_vlm,
}
WORDS = "vlm"
"""The opener of models that are asked something."""


def open_network(
    spec: str | None = None,
    class_names: tuple[str, ...] | None = None,
    weights: str | Path | None = None,
    *,
    name: str = "",
    outputs: Sequence[str] | None = None,
    revision: str | None = None,
    sha256: str | None = None,
    asking: Asking | None = None,
) -> Classifier:
    """The network that a spec, a file of weights, or both name; whoever asks, it is the same.

    spec: timm:NAME[,OPTION=NUMBER], torchvision:NAME[:WEIGHTS], hf:NAME-OR-FOLDER, clip:NAME[:PRETRAINED],
    clip:hf-hub:OWNER/NAME, clip:local-dir:FOLDER, vlm:hf:NAME-OR-FOLDER, or MODULE:FUNCTION, whose function is called
    without arguments and returns a model over images in [0, 1] in the store's crop; its attribute `preprocessing`, a
    `geometry.Preprocessing`, asks for another. None: of a file that says itself what it is, as of `salient-imagenet
    train` or `build --probe`. weights: a file, `hf://owner/name/file[@revision]`, or the name of a published network,
    which says its architecture, to load exactly instead of the library's download, in any layout that `load_into`
    finds, with the normaliser that it brings. class_names: of the store: outputs are put into their order by name,
    before those that are no class of the store. outputs: names of the network's outputs, in order, instead of its own.
    sha256: refuse any other file. asking: what `vlm` is asked.

    `details` of the result says what was opened: spec, weights_sha256, network_sha256 (of the loaded state), the
    library's version, the normalisation and where it is from, how classes were matched, how a probe was fitted that is
    its head, and how much `spufix` takes off its logits. Raises SalientError for a
    spec that is not understood, a package that is not installed, or weights that do not fit or are not finite.
    """
    record = published(str(weights)) if weights else None
    if record is not None:
        if revision is not None:
            raise SalientError(f"{record.name}: the name of one file", expected="no revision", got=revision)
        said = spec_of(record.architecture)
        if spec not in (None, said):
            raise SalientError(f"{record.name}: another architecture", expected=said, got=spec, then="leave it out")
        spec = said
        if spec.startswith("timm:"):
            needed("timm")  # before hundreds of megabytes are downloaded
    path, known = download(record) if record else (fetch(str(weights), revision=revision) if weights else None, None)
    checkpoint = read_checkpoint(path, sha256=sha256, known=known) if path else None
    if spec is None and (checkpoint is None or checkpoint.header is None):
        spec = _said_by(checkpoint) if checkpoint else None
        if spec is None:
            raise SalientError(
                f"{checkpoint.path if checkpoint else 'network'}: weights do not say what network they are for",
                expected="--architecture, such as resnet50, torchvision:densenet121 or timm:resnet50",
            )
        spec = spec_of(spec)
    if checkpoint is not None and checkpoint.header is None:
        record = record or _record_of(checkpoint, spec)
        if record is not None:
            checkpoint = replace(checkpoint, normaliser=record.normaliser)
    opened, ours = _opened(spec, class_names if outputs is None else tuple(outputs), checkpoint, asking)
    if record is not None and record.preprocessing is not None:
        opened = replace(opened, preprocessing=record.preprocessing)
    what = name or _called(spec, checkpoint)
    if opened.classes == 0 and class_names is not None:
        raise SalientError(
            f"{what}: a backbone without a head", then="build --probe FILE fits one on the images and keeps it there"
        )
    model, details = opened.model, dict(opened.details)
    if isinstance(model, nn.Module):
        if checkpoint is not None and checkpoint.correction is not None:
            correct(inside(model), checkpoint.correction)
            details["spufix"] = checkpoint.correction.to_json()
        model.eval().requires_grad_(False)
        check_finite(inside(model), what)
        details["network_sha256"] = state_sha256(inside(model))
    named = spec or (model.architecture if isinstance(model, SmallNetModel) else "smallnet")
    details = {"spec": named, "weights_sha256": checkpoint.sha256 if checkpoint else None, **details}
    if checkpoint is not None and checkpoint.probe is not None:
        details["probe"] = checkpoint.probe
    if ours and checkpoint is not None and checkpoint.class_names is not None:
        outputs = checkpoint.class_names if outputs is None else outputs
    names, class_map = _named(opened, outputs, what), None
    if class_names is not None:
        if names is None and not ours:
            class_map = ClassMap(len(class_names), len(class_names), None, "position", AGREED)
        else:
            count = opened.classes if names is None else len(names)
            class_map = match_classes(names, count, class_names, what, "the store", assumed=opened.assumed)
        details["classes"] = class_map.to_json()
        if class_map.order is not None:
            model = in_order(model, class_map.order)
    return Classifier(what, model, opened.preprocessing, details, ours, names, class_map, opened.assumed)


def _named(opened: Opened, outputs: Sequence[str] | None, what: str) -> tuple[str, ...] | None:
    """What the outputs are called: as the user says, else as the network says."""
    if outputs is None:
        return opened.class_names
    if opened.classes is not None and len(outputs) != opened.classes:
        raise SalientError(f"{what}: names of other outputs", expected=f"{opened.classes} names", got=f"{len(outputs)}")
    return tuple(outputs)


def _said_by(checkpoint: Checkpoint) -> str | None:
    """The architecture that a file names: in its note about a probe, or by being a published one."""
    noted = (checkpoint.probe or {}).get("spec")
    if isinstance(noted, str):
        return noted
    record = called_as(checkpoint.path.name)
    return None if record is None else record.architecture


def _record_of(checkpoint: Checkpoint, spec: str | None) -> Published | None:
    """The published network that a user's own file is called after, where it is opened as that architecture."""
    record = called_as(checkpoint.path.name)
    return record if record is not None and spec_of(record.architecture) == spec else None


def spec_of(architecture: str) -> str:
    """The spec of an architecture: a bare name is one of torchvision's."""
    return architecture if ":" in architecture else f"torchvision:{architecture}"


def inside(model: nn.Module) -> nn.Module:
    """The network itself, without what this package put around it."""
    while isinstance(model, (Reordered, Normalised, SmallNetModel)):
        model = model.net
    return model


def asked(classifier: Classifier) -> YesNo | None:
    """The model that answers in words in a classifier, None where it is none."""
    model = inside(classifier.model) if isinstance(classifier.model, nn.Module) else None
    return model if isinstance(model, YesNo) else None


def _opened(
    spec: str | None, class_names: tuple[str, ...] | None, checkpoint: Checkpoint | None, asking: Asking | None
) -> tuple[Opened, bool]:
    """Also whether its layout is one of ours, and not a stranger's function's."""
    if spec is None:
        assert checkpoint is not None
        small = read_smallnet(checkpoint)
        return Opened(small, small.preprocessing, {}, len(small.class_names or ()), small.class_names), True
    kind, _, rest = spec.partition(":")
    if not kind or not rest:
        raise SalientError(
            f"model {spec!r} is not understood",
            expected=f"{', '.join(f'{known}:NAME' for known in OPENERS)} or MODULE:FUNCTION",
        )
    if kind not in OPENERS:
        return open_function(kind, rest, checkpoint, others=":, ".join(OPENERS) + ":"), False
    if checkpoint is not None and checkpoint.header is not None:
        raise SalientError(
            f"{checkpoint.path}: weights of `salient-imagenet train` say themselves what network they are for",
            got=spec,
            then="leave it out",
        )
    if kind == WORDS:
        return open_vlm(rest, class_names, checkpoint, asking), True
    return OPENERS[kind](rest, class_names, checkpoint), True


def _called(spec: str | None, checkpoint: Checkpoint | None) -> str:
    if checkpoint is None or spec is None:
        return spec or str(checkpoint.path if checkpoint else "")
    return f"{spec} ({checkpoint.path.name})"


Opener = Callable[[], Classifier]


def open_networks(
    store: Store,
    models: Sequence[str] = (),
    weights: Sequence[str] = (),
    architecture: str | None = None,
    *,
    own_preprocessing: bool = True,
    names: Sequence[str] | None = None,
    outputs: Sequence[str] = (),
    asking: Asking | None = None,
) -> dict[str, Opener]:
    """What opens each network, by its name: nothing is read before it is called, so that one is in memory at a time.

    models: specs of `open_network`. weights: files, one for each spec, or alone, then of `architecture` or of
    `salient-imagenet train`. own_preprocessing: images as the network wants them, else the store's crop, and `details`
    then say under `OWN_FRAME` what it wants, where that is another; the network
    that the store was built with wants the store's. names: what they are called, one each; by default after spec and
    file. outputs: lists of names of their outputs (`labels.read_labels`), one each or one for all. asking: what those
    are asked that answer in words. Raises SalientError for numbers that do not fit, a name given twice, or something to
    ask where none of them answers in words.
    """
    given = _given(models, weights, architecture, names, outputs)
    if asking is not None and not any(str(spec).startswith(f"{WORDS}:") for spec, _, _ in given.values()):
        raise SalientError("a question, and no model that answers in words", expected="--model vlm:hf:NAME")
    return {name: partial(_for_store, store, *of, name, own_preprocessing, asking) for name, of in given.items()}


def classifiers_of(
    class_names: tuple[str, ...],
    models: Sequence[str] = (),
    weights: Sequence[str] = (),
    architecture: str | None = None,
    *,
    outputs: Sequence[str] = (),
) -> dict[str, Opener]:
    """The same for images of some classes without a store, each network with its own preprocessing."""
    given = _given(models, weights, architecture, None, outputs)
    return {
        name: partial(open_network, spec, class_names, file, name=name, outputs=named)
        for name, (spec, file, named) in given.items()
    }


def _given(
    models: Sequence[str],
    weights: Sequence[str],
    architecture: str | None,
    names: Sequence[str] | None,
    outputs: Sequence[str],
) -> dict[str, tuple[str | None, str | None, tuple[str, ...] | None]]:
    """Spec, file and names of the outputs of each network, by its name."""
    if not models and not weights:
        raise SalientError("give --model SPEC, --weights FILE, or both")
    if models and weights and len(weights) != len(models):
        raise SalientError(f"give one --weights for each --model, or none; got {len(weights)} for {len(models)}")
    if names is not None and len(names) != len(models or weights):
        raise SalientError(f"give one --name for each model, or none; got {len(names)} for {len(models or weights)}")
    if len(outputs) > 1 and len(outputs) != len(models or weights):
        raise SalientError(
            f"give one --class-names for each model, or one for all; got {len(outputs)} for {len(models or weights)}"
        )
    alone = None if architecture is None else spec_of(architecture)
    labels = [read_labels(place) for place in outputs]
    found: dict[str, tuple[str | None, str | None, tuple[str, ...] | None]] = {}
    for index, given in enumerate(models or weights):
        file = weights[index] if weights else None
        name = names[index] if names else (f"{given} ({Path(file).name})" if models and file else given)
        if name in found:
            raise SalientError(f"{name} is given twice", then="tell them apart with --name")
        named = labels[index if len(labels) > 1 else 0] if labels else None
        found[name] = given if models else alone, file, named
    return found


def _for_store(
    store: Store,
    spec: str | None,
    weights: str | None,
    outputs: tuple[str, ...] | None,
    name: str,
    own_preprocessing: bool,
    asking: Asking | None,
) -> Classifier:
    opened = open_network(spec, store.class_names, weights, name=name, outputs=outputs, asking=asking)
    own, stores = opened.preprocessing, store.manifest.preprocessing
    if own is None or (weights and opened.details["weights_sha256"] == store.manifest.weights_sha256):
        own = stores
    if own_preprocessing or own == stores:
        return replace(opened, preprocessing=own)
    return replace(opened, preprocessing=stores, details=opened.details | {OWN_FRAME: asdict(own)})

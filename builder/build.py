"""Build a store: features of every image, ranking, maps of the ranked features, and the tables.

With known pairs (annotations) each image goes through the network once. Otherwise the features must be ranked before it
is known which maps to keep: a pilot over some images guesses which may be needed, and only what it missed goes through
twice (`candidates`); few images all go twice. All of it consists of units that an engine runs; a build that was stopped
goes on with the units that are missing and gives the same bytes as one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.applying import with_verdicts
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.builder.choices import Stage
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.discovery.active import Active, active_of
from salient_imagenet_data.builder.discovery.belonging import belonging, check_belonging
from salient_imagenet_data.builder.discovery.known import (
    Known,
    annotated_pairs,
    check_known,
    check_range,
    known_pairs,
)
from salient_imagenet_data.builder.discovery.ranking import Ranking, known_ranking, rank, top_images
from salient_imagenet_data.builder.discovery.wanted import Wanted, wanted_features
from salient_imagenet_data.builder.finish import (
    Pooled,
    among,
    feature_rows,
    image_table,
    load_pooled,
    quarantine_rows,
    write_maps,
)
from salient_imagenet_data.builder.passes import Given, contributions, found_components, full_pass, second_pass, tell
from salient_imagenet_data.builder.robustness import Robustness, robustness_of
from salient_imagenet_data.builder.units.decoding import check_decoder, packages_of
from salient_imagenet_data.builder.units.engine import Engine, LocalEngine
from salient_imagenet_data.builder.units.unit import Job
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.likeness import likenesses
from salient_imagenet_data.images.source import ImageSource, id_chunks, labels_of
from salient_imagenet_data.names import FEATURES_TABLE, MANIFEST, PCA, WORK
from salient_imagenet_data.networks.robust import RobustModel, check_classes
from salient_imagenet_data.places import Folder, upload
from salient_imagenet_data.ranking.left_out import NOTHING, LeftOut
from salient_imagenet_data.store.claiming import Claim, check_claim, claimed, unclaim
from salient_imagenet_data.store.features import FEATURES_SCHEMA, Basis, features_table
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.store.tables import write_table
from salient_imagenet_data.store.writing import StoreWriter

MADE_OF = "images, weights, annotations and options"
PACKAGES = ("salient-imagenet-data", "torch", "torchvision", "pillow", "zarr")
"""Whose versions every manifest holds."""


def build(
    source: ImageSource,
    model: RobustModel,
    out: str | Path,
    *,
    weights_sha256: str,
    annotations: Annotations | None = None,
    pairs_of: Store | None = None,
    basis: str | None = None,
    config: BuildConfig | None = None,
    run: RunConfig | None = None,
    engine: Engine | None = None,
    resume: bool = False,
    overwrite: bool = False,
    left_out: LeftOut = NOTHING,
) -> Store:
    """Build a store at `out`, a folder or a URL of fsspec such as s3://bucket/store, and open it.

    With `annotations`, their pairs are the features of each class; with `pairs_of`, those of another store, matched by
    the names of classes, and what people said of them; otherwise the ranking gives them and the store is annotated
    later. basis: what the features are: "neurons", "pca", components of each class's neurons (`discovery.components`),
    or "sae:FILE" or "sae:FILE,relu", latents of a sparse autoencoder (`discovery.sparse`); None for neurons, or what
    those of `pairs_of` are. left_out: images, by id, that count for no ranking and are no feature's top image; they are
    in the store like the others. Raises SalientError for input that does not fit, answers or pairs that are about
    another network (where `run` asks for that check), images to leave out of which none is there, or a folder that
    another build is writing.
    """
    store = build_until(
        source,
        model,
        out,
        weights_sha256=weights_sha256,
        annotations=annotations,
        pairs_of=pairs_of,
        basis=basis,
        config=config,
        run=run,
        engine=engine,
        resume=resume,
        overwrite=overwrite,
        left_out=left_out,
        stop_after="maps",
    )
    assert store is not None
    return store


def build_until(
    source: ImageSource,
    model: RobustModel,
    out: str | Path,
    *,
    stop_after: Stage,
    weights_sha256: str,
    annotations: Annotations | None = None,
    pairs_of: Store | None = None,
    basis: str | None = None,
    config: BuildConfig | None = None,
    run: RunConfig | None = None,
    engine: Engine | None = None,
    resume: bool = False,
    overwrite: bool = False,
    left_out: LeftOut = NOTHING,
) -> Store | None:
    """As `build`, but stop after a stage: None unless that is the last one. `build` with `resume` goes on.

    After "ranking", features.parquet lies in the folder, without answers.
    """
    config, run = config or BuildConfig(), run or RunConfig()
    known = None
    if pairs_of is not None:
        if annotations is not None:
            raise SalientError("answers and the pairs of a store", expected="one of them", then="leave one out")
        known = known_pairs(pairs_of, model, source.class_names, weights_sha256)
        if run.check_annotations:
            check_known(known, pairs_of.manifest.weights_sha256, weights_sha256)
    wanted = wanted_features(basis, known, annotations, model.weight.shape[1])
    lines = [] if known is None else [known.line()]
    if wanted.sparse is not None:
        lines.append(wanted.sparse.read_as.line(wanted.sparse.place))
    if left_out:
        left_out = left_out.among(chain.from_iterable(id_chunks(source)), "the images", lines.append)
    this = Given(
        source,
        model,
        Folder.of(out),
        weights_sha256,
        annotations,
        known,
        wanted,
        config,
        run,
        engine or LocalEngine(),
        Claim("build", _made_of(source, model, weights_sha256, annotations, known, wanted, config, left_out), MADE_OF),
        left_out,
    )
    for line in lines:
        tell(this, line)
    check_classes(model, source.class_names, "images")
    check_decoder(config.decoder, this.run.device, model.preprocessing)
    if annotations is not None:
        neurons = model.weight.shape[1] if wanted.basis is None else wanted.basis.count
        check_range(annotations, model.weight.shape[0], neurons)
        annotations.verdicts(config.majority)  # refuses a majority out of reach before anything is written
    if not this.engine.leader:
        this.engine.wait()
        return _run_stages(this, stop_after)
    with claimed(this.place, this.claim, resume=resume, overwrite=overwrite) as finished:
        if finished:
            unclaim(this.place)
        this.engine.wait()
        return _run_stages(this, stop_after)


def _run_stages(this: Given, stop_after: Stage) -> Store | None:
    if MANIFEST in this.place.names():
        return Store(this.place.place)
    source, model, config, annotations = this.source, this.model, this.config, this.annotations
    pairs = _known(this)
    robustness = _robustness(this)
    active = _active(this)
    first = full_pass(this, pairs)
    if stop_after == "features":
        return None
    pooled, means = load_pooled(first)
    _check_classes_filled(source, pooled.labels)
    basis, ranking = _ranking(this, first, pooled, means, pairs)
    features = tuple(feature_rows(ranking, source.class_names))
    if annotations is not None:
        features = with_verdicts(features, annotations.verdicts(config.majority), source.class_names)
    elif this.known is not None:
        features = this.known.judged(features)
    if stop_after == "ranking":
        if this.engine.leader:
            with _staged(this.place) as folder:
                write_table(folder / FEATURES_TABLE, features_table(features), FEATURES_SCHEMA)
        return None

    activations = pooled.activations(first, ranking.features, basis)
    counted = _counted(this, pooled)
    in_top = np.zeros(activations.shape, dtype=np.bool_)
    in_top[counted] = top_images(activations[counted], pooled.labels[counted], config.top_images)
    in_top &= (ranking.features >= 0)[pooled.labels]
    kept = np.flatnonzero(in_top.any(axis=1)) if config.edition == "top65" else np.arange(len(in_top))
    found = second_pass(this, first, pooled, kept, ranking.features, basis)
    if this.engine.leader:
        manifest = _manifest(this, len(kept), activations.shape[1], found.grid(), len(pooled.failed), basis)
        manifest = dataclasses.replace(
            manifest,
            likenesses=likenesses(source, pooled.indices[kept]),
            robustness=dataclasses.asdict(robustness) if robustness else {},
            network=model.details
            | among(model, config, pooled.predictions)
            | ({"pairs_of": this.known.record} if this.known else {})
            | ({"basis": basis.to_json() | _file_of(this, active)} if basis else {}),
        )
        table = image_table(source, pooled, kept, model.preprocessing, in_top)
        with _staged(this.place) as folder:
            writer = StoreWriter(
                folder,
                images=manifest.images,
                features=manifest.features_per_class,
                grid=manifest.grid,
                shard_rows=manifest.shard_rows,
            )
            write_maps(writer, found, activations[kept])
            writer.finish(manifest, table, features, quarantine_rows(source, pooled), basis)
            check_claim(this.place, this.claim)  # still ours, behind a URL
    this.engine.wait()  # the others may still be reading units
    if this.engine.leader:
        unclaim(this.place)
    return Store(this.place.place)


def _robustness(this: Given) -> Robustness | None:
    """Measured by the leader, who says where it is low before the images go through the network."""
    if not this.engine.leader:
        return None
    work, key = this.place.child(WORK), this.claim.key[:12]
    found = robustness_of(this.source, this.model, this.config, this.run, work, key)
    for line in found.warnings() if found else ():
        tell(this, line)
    return found


def _active(this: Given) -> Active | None:
    """Measured by the leader, of an autoencoder that is read from a file."""
    sparse = this.wanted.sparse
    if not this.engine.leader or sparse is None:
        return None
    found = active_of(this.source, this.model, sparse, this.run, this.place.child(WORK), this.claim.key[:12])
    tell(this, found.line(sparse.place, sparse.basis.count) if found else "")
    return found


def _known(this: Given) -> NDArray[np.int64] | None:
    """(C, K) features of each class where they are known, -1 for none; None where the images are to tell."""
    if this.known is not None:
        return this.known.pairs(len(this.source.class_names))
    given, majority = this.annotations, this.config.majority
    return None if given is None else annotated_pairs(given, majority, len(this.model.weight))


def _manifest(
    this: Given, images: int, features: int, grid: tuple[int, int], quarantined: int, basis: Basis | None
) -> Manifest:
    return Manifest(
        class_names=this.source.class_names,
        images=images,
        features_per_class=features,
        grid=grid,
        shard_rows=this.config.shard_rows,
        split=this.config.split,
        preprocessing=this.model.preprocessing,
        group_by=this.config.group_by,
        top_images=this.config.top_images,
        weights_sha256=this.weights_sha256,
        architecture=this.model.architecture,
        feature_count=this.model.weight.shape[1] if basis is None else basis.count,
        quarantined=quarantined,
        annotations_sha256=(this.annotations.sha256 if this.annotations else None)
        if this.known is None
        else this.known.annotations_sha256,
        majority=this.config.majority if this.known is None else this.known.majority,
        versions={n: version(n) for n in (*PACKAGES, *packages_of(this.config.decoder))},
        files={},
        edition=this.config.edition,
        precision=this.config.precision,
        compiled=this.config.compiled,
        decoder=this.config.decoder,
        made_of=this.claim.key,
        data_version=this.config.data_version,
        left_out=_left_out(this),
    )


def _left_out(this: Given) -> dict[str, Any]:
    """What a manifest says of images that were left out."""
    facts = this.left_out.facts(chain.from_iterable(id_chunks(this.source))) if this.left_out else None
    return {} if facts is None else dataclasses.asdict(facts)


def _ranking(
    this: Given, first: Job, pooled: Pooled, means: NDArray[np.float64], pairs: NDArray[np.int64] | None
) -> tuple[Basis | None, Ranking]:
    """What the features are made of, None for neurons, and the ranking of the images, or the known pairs with their
    importance on these images. Raises SalientError where known pairs can hardly be about this network."""
    known, basis = this.known, this.wanted.basis
    if known is not None and pairs is not None and basis is not None:
        counted = _counted(this, pooled)
        return basis, known_ranking(basis, pairs, pooled.activations(first, pairs)[counted], pooled.labels[counted])
    if this.wanted.kind == PCA:
        found = found_components(this, first, means)
        return found.basis, found.ranking
    weight = contributions(this)
    if pairs is None:
        ranking = rank(means, weight, this.config.top_features)
    else:
        if this.run.check_annotations and not (known and known.proven):
            check_belonging(belonging(means * weight, pairs))
        importance = np.take_along_axis(means * weight, np.maximum(pairs, 0), axis=1)
        ranking = Ranking(pairs, np.where(pairs >= 0, importance, np.nan))
    return None if basis is None else basis.only(ranking.features), ranking


def _counted(this: Given, pooled: Pooled) -> NDArray[np.int64]:
    """Positions among the readable images of those that are not left out."""
    ids = (this.source.entry(index).image_id for index in pooled.indices.tolist()) if this.left_out else ()
    return np.flatnonzero(~this.left_out.holds(ids)) if this.left_out else np.arange(len(pooled.indices))


def _file_of(this: Given, active: Active | None) -> dict[str, Any]:
    """What a manifest keeps of the file of an autoencoder, also where that was read for another store."""
    if this.known is not None:
        return this.known.file
    sparse = this.wanted.sparse
    return ({} if sparse is None else sparse.to_json()) | ({"active": dataclasses.asdict(active)} if active else {})


def _check_classes_filled(source: ImageSource, labels: NDArray[np.int32]) -> None:
    given = np.bincount(labels_of(source), minlength=len(source.class_names))
    read = np.bincount(labels, minlength=len(source.class_names))
    for name, total, good in zip(source.class_names, given, read, strict=True):
        if not good:
            raise SalientError(
                f"class {name!r}: no readable image",
                expected="at least one image that decodes",
                got=f"{total} files, all broken",
                then="mend or remove the folder",
            )


def _made_of(
    source: ImageSource,
    model: RobustModel,
    weights_sha256: str,
    annotations: Annotations | None,
    known: Known | None,
    wanted: Wanted,
    config: BuildConfig,
    left_out: LeftOut,
) -> dict[str, Any]:
    """All that decides the bytes of a store, except the versions of the libraries."""
    ids = hashlib.sha256()
    for chunk in id_chunks(source):
        ids.update("\n".join(chunk).encode())
    ids.update(labels_of(source).astype("<i4").tobytes())
    parts = {
        "images": ids.hexdigest(),
        "weights": weights_sha256,
        "architecture": model.architecture,
        "preprocessing": dataclasses.asdict(model.preprocessing),
        "annotations": annotations.sha256 if annotations else None,
        "pairs_of": known.record["features_sha256"] if known else None,
        "config": dataclasses.asdict(config),
    }
    parts |= {} if wanted.key is None else {"basis": wanted.key}
    return parts | ({"left_out": left_out.sha256} if left_out else {})


@contextmanager
def _staged(place: Folder) -> Iterator[Path]:
    """Where the finished files are made: in their place on a disk, or in a scratch folder that is then uploaded."""
    if place.path is not None:
        yield place.path
        return
    with tempfile.TemporaryDirectory(prefix="salient-imagenet-") as scratch:
        yield Path(scratch)
        upload(Path(scratch), place, last=MANIFEST)

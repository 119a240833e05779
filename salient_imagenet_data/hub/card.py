"""README.md of the repository: `dataset_card.md` with every number filled in, and the YAML that `datasets` reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from salient_imagenet_data.hub import layout
from salient_imagenet_data.imagenet import is_imagenet, wnids
from salient_imagenet_data.names import CORE, CUES, NEURONS, PCA, SAE, SPURIOUS
from salient_imagenet_data.store import describing
from salient_imagenet_data.store.manifest import Manifest
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.table.configs import FEATURES, GRIDS, MASKS, WITH_IMAGES, columns
from salient_imagenet_data.whole_file import write_text

Facts = Mapping[str, tuple[int, int, int]]
"""By shard path: rows, bytes in memory, bytes on disk."""

_ABOUT = {
    MASKS: "the masks as 8-bit gray images, in the crop frame",
    GRIDS: "the maps as they are stored, with peaks, activations and feature indices",
    FEATURES: "one row a (class, feature): importance, votes, kind, cue, name and reasons",
    WITH_IMAGES: "images with their masks in the image frame",
}
_RANKED = {
    NEURONS: "by mean of activation times weight",
    PCA: "components of what neurons add to its logit, by the standard deviation of what each adds",
    SAE: "latents of a sparse autoencoder{read_as}, by the mean of what each adds to its logit",
}
"""By kind of the features. read_as: what the autoencoder was taken for, and why."""
MOST_NAMES = 12
"""Of spurious features, in the card."""
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")


def write_card(store: Store, facts: Facts, folder: Path, repo: str) -> None:
    """Write README.md. repo: the name that its examples use."""
    template = files("salient_imagenet_data.hub").joinpath("dataset_card.md").read_text(encoding="utf-8")
    card = DatasetCard(Template(template).substitute(_fields(store, facts), repo=repo))
    infos = dataset_infos(store.manifest, facts)
    data_version = store.manifest.data_version
    configs = {
        name: {
            **({"default": True} if name == layout.DEFAULT else {}),
            "version": data_version,
            "data_files": [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in info.splits],
        }
        for name, info in infos.items()
    }
    MetadataConfigs(configs).to_dataset_card_data(card.data)
    infos.to_dataset_card_data(card.data)
    card.data["dataset_info"] = _portable(card.data["dataset_info"])
    card.data["size_categories"] = [_SIZES[max(0, len(str(store.manifest.images)) - 3)]]
    write_text(folder / layout.README, str(card).rstrip("\n") + "\n")


def dataset_infos(manifest: Manifest, facts: Facts) -> DatasetInfosDict:
    """`datasets`' own description of each config. num_bytes is the size in memory, download_size that on disk."""
    result = DatasetInfosDict()
    for config in (MASKS, GRIDS, FEATURES, WITH_IMAGES):
        rows, memory, disk = totals(facts, config)
        if not any(path.startswith(f"{config}/") for path in facts):
            continue
        splits = datasets.SplitDict()
        splits.add(datasets.SplitInfo(manifest.split, num_bytes=memory, num_examples=rows))
        result[config] = datasets.DatasetInfo(
            features=columns(manifest, config),
            splits=splits,
            download_size=disk,
            dataset_size=memory,
            config_name=config,
            version=datasets.Version(manifest.data_version),
        )
    return result


def totals(facts: Facts, config: str) -> tuple[int, int, int]:
    """Rows, bytes in memory and bytes on disk of a config."""
    chosen = [value for path, value in facts.items() if path.startswith(f"{config}/")]
    return sum(c[0] for c in chosen), sum(c[1] for c in chosen), sum(c[2] for c in chosen)


def _portable(value: Any) -> Any:
    """The YAML of newer `datasets` says `list`, where 3.x reads a length only from `sequence`; all read `sequence`."""
    if isinstance(value, dict):
        return {("sequence" if key == "list" else key): _portable(part) for key, part in value.items()}
    return [_portable(part) for part in value] if isinstance(value, list) else value


def code(text: str) -> str:
    """A stranger's text as a code span of one line, in which Markdown and HTML mean nothing."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if len(fence) == 1 and line else f"{fence} {line or 'nothing'} {fence}"


def _fields(store: Store, facts: Facts) -> dict[str, object]:
    m = store.manifest
    kinds = [feature.kind for feature in store.features]
    cues = [feature.cue for feature in store.features]
    has_images = totals(facts, WITH_IMAGES)[0] > 0
    return {
        "title": "Salient ImageNet masks" if m.class_names == wnids() else "Core and spurious masks",
        "tag": layout.tag_of(m.data_version),
        "data_version": m.data_version,
        "split": m.split,
        "images": f"{m.images:,}",
        "classes": f"{len(m.class_names):,}",
        "features_per_class": m.features_per_class,
        "features": f"{len(kinds):,}",
        "core": f"{kinds.count(CORE):,}",
        "spurious": f"{kinds.count(SPURIOUS):,}",
        "unanswered": f"{kinds.count(None):,}",
        "with_reasons": f"{sum(bool(feature.reasons) for feature in store.features):,}",
        "names": _names(store),
        "generalisation": describing.generalisation(m),
        "cues": ", ".join(f"{cues.count(cue):,} {cue.replace('_', ' ')}" for cue in CUES),
        "classes_with_spurious": f"{int(store.has(SPURIOUS).sum()):,}",
        "classes_without_core": f"{int((~store.has(CORE)).sum()):,}",
        "majority": m.majority,
        "top_images": f"{m.top_images:,}",
        "quarantined": f"{m.quarantined:,}",
        "ranked": _RANKED[NEURONS if store.basis is None else store.basis.kind].format(read_as=_read_as(m)),
        "channel": "channel"
        if store.basis is None
        else "combination of channels (`store/basis.parquet`), where that is positive,",
        "grid": f"{m.grid[0]} x {m.grid[1]}",
        "preprocessing": str(m.preprocessing),
        "architecture": code(m.architecture),
        "group_by": {"prediction": "predicted as the class", "label": "labelled with the class"}.get(
            m.group_by, code(m.group_by)
        ),
        "weights_sha256": code(m.weights_sha256),
        "annotations_sha256": code(str(m.annotations_sha256)),
        "versions": ", ".join(code(f"{name} {number}") for name, number in sorted(m.versions.items())),
        "package_version": version("salient-imagenet-data"),
        "configs": _configs_table(facts),
        "image_terms": _image_terms(m, has_images),
    }


def _read_as(m: Manifest) -> str:
    """What the file of an autoencoder was read as, and on what ground; empty where nothing says it."""
    said = m.network.get("basis", {})
    return f", read as {code(str(said['read_as']))} ({code(str(said.get('because')))})" if "read_as" in said else ""


def _names(store: Store) -> str:
    """What people called the spurious features, the names of most classes first."""
    counts = Counter(f.name for f in store.features if f.kind == SPURIOUS and f.name)
    if not counts:
        return "none has a name, since no reason was given"
    shown = [code(name) + (f" ({count} times)" if count > 1 else "") for name, count in counts.most_common(MOST_NAMES)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more names" if more else "")


def _configs_table(facts: Facts) -> str:
    lines = ["| config | what | rows | files | bytes |", "| --- | --- | --- | --- | --- |"]
    for config, about in _ABOUT.items():
        count = sum(path.startswith(f"{config}/") for path in facts)
        if count:
            rows, _, disk = totals(facts, config)
            name = f"`{config}`" + (" (default)" if config == layout.DEFAULT else "")
            lines.append(f"| {name} | {about} | {rows:,} | {count} | {disk:,} |")
    return "\n".join(lines)


def _image_terms(m: Manifest, has_images: bool) -> str:
    if has_images:
        return "Whoever published this data set says that its images may be passed on; they are in `with_images`."
    if any(map(is_imagenet, m.class_names)):
        return (
            "ImageNet's images may not be redistributed and are not part of this data set. They are had from "
            "image-net.org by those who accept its terms: research and education, no commercial use."
        )
    return "The images are not part of this data set."

"""croissant.json: the repository described for machines, in the Croissant format 1.0 (JSON-LD)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets

from salient_imagenet_data.hub import layout
from salient_imagenet_data.hub.card import Facts, dataset_infos
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from salient_imagenet_data.whole_file import write_text

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(store: Store, facts: Facts, folder: Path) -> None:
    """Write croissant.json. Every shard is a file object with its sha256; the shards of a config are a file set."""
    manifest = store.manifest
    infos = dataset_infos(manifest, facts)
    distribution = [_file(folder, path, facts[path][2]) for path in sorted(facts)]
    distribution += [_files(config) for config in infos]
    about = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "salient_imagenet" if manifest.class_names == wnids() else "core_and_spurious_masks",
        "description": f"Core and spurious soft masks for {manifest.images} images of {len(manifest.class_names)} "
        "classes, after Singla and Feizi, Salient ImageNet, ICLR 2022 (arXiv 2110.04301).",
        "license": "https://www.apache.org/licenses/LICENSE-2.0",
        "url": "https://arxiv.org/abs/2110.04301",
        "version": manifest.data_version,
        "citeAs": "Singla and Feizi. Salient ImageNet: How to discover spurious features in deep learning? ICLR 2022.",
        "distribution": distribution,
        "recordSet": [_records(config, info.features) for config, info in infos.items()],
    }
    write_text(folder / layout.CROISSANT, json.dumps(about, indent=2) + "\n")


def _file(folder: Path, path: str, size: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file_sha256(folder / path),
    }


def _files(config: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "encodingFormat": "application/x-parquet",
        "includes": f"{config}/*.parquet",
    }


def _records(config: str, features: datasets.Features) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "field": [_field(config, name, feature) for name, feature in features.items()],
    }


def _field(config: str, name: str, feature: Any) -> dict[str, Any]:
    inner, repeated = feature, False
    while not isinstance(inner, (datasets.Value, datasets.ClassLabel, datasets.Image)):
        inner, repeated = inner.feature, True
    kind = {"string": "sc:Text", "float32": "cr:Float32", "float64": "cr:Float64"}.get(inner.dtype, "sc:Integer")
    source: dict[str, Any] = {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": name}}
    if isinstance(inner, datasets.Image):
        kind, source["transform"] = "sc:ImageObject", {"jsonPath": "bytes"}
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{config}/{name}", "name": f"{config}/{name}"}
    field |= {"dataType": kind, "source": source}
    return field | {"repeated": True} if repeated else field

"""The tables of a store by name, and their columns, on the Hub and from a store alike."""

from __future__ import annotations

import datasets

from salient_imagenet_data.imagenet import display_names
from salient_imagenet_data.names import IMAGE, IMAGE_ID, LABEL, MASK_COLUMN
from salient_imagenet_data.store.manifest import Manifest

MASKS, GRIDS, FEATURES, WITH_IMAGES = "masks", "grids", "features", "with_images"
OF_STORE = (MASKS, GRIDS, FEATURES)
"""Those that a store has without images."""


def columns(manifest: Manifest, config: str) -> datasets.Features:
    """Columns of a config, as `datasets` knows them. Shapes: K features a class, grids of h x w cells, row by row.

    `maps` (K, h * w) uint8, 255 = the map's peak; `peaks` and `activations` (K,) float32; `feature_indices` (K,)
    int32, -1 where the class has fewer than K features.
    """
    label = datasets.ClassLabel(names=list(display_names(manifest.class_names)))
    features, cells = manifest.features_per_class, manifest.grid[0] * manifest.grid[1]
    # Sequence, not List: it is the one spelling that every supported version has.
    several = datasets.Sequence
    masks = {column: datasets.Image() for column in MASK_COLUMN.values()}
    if config == MASKS:
        return datasets.Features({IMAGE_ID: datasets.Value("string"), LABEL: label, **masks})
    if config == WITH_IMAGES:
        image = {IMAGE_ID: datasets.Value("string"), IMAGE: datasets.Image(), LABEL: label}
        return datasets.Features({**image, **masks})
    if config == GRIDS:
        return datasets.Features(
            {
                IMAGE_ID: datasets.Value("string"),
                LABEL: label,
                "maps": several(several(datasets.Value("uint8"), length=cells), length=features),
                "peaks": several(datasets.Value("float32"), length=features),
                "activations": several(datasets.Value("float32"), length=features),
                "feature_indices": several(datasets.Value("int32"), length=features),
            }
        )
    if config != FEATURES:
        raise ValueError(f"unknown config {config!r}")
    return datasets.Features(
        {
            LABEL: label,
            "class_name": datasets.Value("string"),
            "feature_index": datasets.Value("int32"),
            "rank": datasets.Value("int32"),
            "importance": datasets.Value("float64"),
            "votes_main_object": datasets.Value("int32"),
            "votes_separate_object": datasets.Value("int32"),
            "votes_background": datasets.Value("int32"),
            "kind": datasets.Value("string"),
            "cue": datasets.Value("string"),
            "name": datasets.Value("string"),
            "reasons": several(datasets.Value("string")),
        }
    )

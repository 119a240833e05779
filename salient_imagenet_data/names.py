"""Column, file and answer names that two or more rooms share."""

from __future__ import annotations

from typing import Literal

IMAGE_ID, IMAGE, LABEL = "image_id", "image", "label"
CORE_MASK, SPURIOUS_MASK = "core_mask", "spurious_mask"

Kind = Literal["core", "spurious"]
CORE: Kind = "core"
SPURIOUS: Kind = "spurious"
KINDS: tuple[Kind, Kind] = (CORE, SPURIOUS)
MASK_COLUMN: dict[Kind, str] = {CORE: CORE_MASK, SPURIOUS: SPURIOUS_MASK}
MAPS_COLUMN = "maps"
FEATURES_COLUMN: dict[Kind, str] = {CORE: "core_features", SPURIOUS: "spurious_features"}

MAIN_OBJECT, SEPARATE_OBJECT, BACKGROUND = "main_object", "separate_object", "background"
ANSWERS = (MAIN_OBJECT, SEPARATE_OBJECT, BACKGROUND)
MIXED = "mixed"
CUES = (BACKGROUND, SEPARATE_OBJECT, MIXED)

Form = Literal["csv", "official", "label-studio"]
"""Of a file of answers: our CSV, the same with the columns of 2022, tasks of Label Studio."""

NEURONS, PCA, SAE = "neurons", "pca", "sae"
"""What features are: a network's neurons, components of a class's neurons, or latents of a sparse autoencoder."""

MANIFEST, IMAGES_TABLE, FEATURES_TABLE, MAPS = "manifest.json", "images.parquet", "features.parquet", "maps.zarr"
QUARANTINE_TABLE, BASIS_TABLE = "quarantine.parquet", "basis.parquet"
WORK = "work"
"""Folder of a store that is being made; it goes when the store is whole."""
CLAIM = "claim.json"
"""What a store that is being made is made of: our marker, written first and removed last."""
LOCK = ".salient-imagenet.lock"
"""File of a folder that a process holds."""

OWN_FRAME = "own_preprocessing"
"""In the record of a network: how it wants images, where it was given them in another frame."""
OFFICIAL_RELEASE = "official release"
"""`kind` in the manifest's origin of a store that holds published masks."""

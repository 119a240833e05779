"""What a Hub repository of this package looks like: configs, file names, columns.

README.md          card; its YAML holds `configs` and `dataset_info`
croissant.json     the same for machines (Croissant)
picture.png
masks/             image_id, label, core_mask and spurious_mask as 8-bit gray images in the crop frame (default)
grids/             image_id, label, the K maps as they are stored, peaks, activations, feature indices
features/          one row a (class, feature), with votes, kind and people's reasons
with_images/       image, label, masks in the image frame; only where images may be passed on
store/             the store itself, for the loaders
"""

from __future__ import annotations

from salient_imagenet_data.store.locating import STORE_FOLDER as STORE_FOLDER
from salient_imagenet_data.table.configs import FEATURES, GRIDS, MASKS, WITH_IMAGES

DEFAULT = MASKS
README, CROISSANT, PICTURE = "README.md", "croissant.json", "picture.png"


def shard_path(config: str, split: str, shard: int, shards: int) -> str:
    """Path of a shard below the repository's root."""
    return f"{config}/{split}-{shard:05d}-of-{shards:05d}.parquet"


def belongs(path: str) -> bool:
    """Whether a file of a repository stands where an export has one."""
    folder = path.partition("/")[0]
    return path in (README, CROISSANT, PICTURE) or folder in (MASKS, GRIDS, FEATURES, WITH_IMAGES, STORE_FOLDER)


def tag_of(data_version: str) -> str:
    """The repository's tag of a data version."""
    return f"v{data_version}"

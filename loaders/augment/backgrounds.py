"""Another image behind the object [Ryali et al. 2021; Xiao et al. 2020]: a transform on samples and batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salient_imagenet_data.loaders.controls import region_masks
from salient_imagenet_data.loaders.corruption.corruptions import corrupt, image_seeds
from salient_imagenet_data.loaders.corruption.kernels import from_unit, to_unit
from salient_imagenet_data.loaders.corruption.records import Inpaint, Swap
from salient_imagenet_data.loaders.region import Region
from salient_imagenet_data.loaders.torch_dataset import SalientImageNet
from salient_imagenet_data.loaders.transforms import MaskedCorruption, as_batch, masks_of_sample
from salient_imagenet_data.names import CORE, IMAGE, IMAGE_ID, LABEL

TRIES = 16
"""Images that are drawn until one is of another class."""


class OtherBackground(MaskedCorruption):
    """What is not core gets another image's pixels, in samples or collated batches of `SalientImageNet`.

    region: a "not_core" region, with the dilation that it should have. pool: a dataset that the other image is taken
    from, whose transform gives images of the same size; None: the batch. without_object: the other image's core is
    filled from around it first, so that only its background comes; then only images of classes with a core feature are
    taken. The other is of another class if one of `TRIES` draws is, and never the image itself; an image for which
    none is drawn is left alone. seed, condition, p: as of `MaskedCorruption`.
    """

    knows_others = True

    def __init__(
        self,
        region: Region,
        *,
        pool: SalientImageNet | None = None,
        without_object: bool = False,
        seed: int | None = None,
        condition: str = "",
        p: float = 0.5,
    ) -> None:
        if region.name != "not_core" or region.box:
            raise ValueError(f"OtherBackground: expected a region that is not_core, got {region.label}")
        super().__init__(Swap(), region, seed=seed, condition=condition, p=p)
        self.pool, self.without_object = pool, without_object

    def others(self, sample: dict[str, Any], seed: int) -> tuple[Tensor, Tensor]:
        single = isinstance(sample[IMAGE_ID], str)
        images = as_batch(sample[IMAGE], single)
        ids = [sample[IMAGE_ID]] if single else list(sample[IMAGE_ID])
        labels = torch.as_tensor(sample[LABEL]).reshape(-1).cpu().numpy()
        draws = [[f"{i}\0{k}" for k in range(TRIES)] for i in ids]
        numbers = [image_seeds(seed, each, f"{self.condition}\0other") for each in draws]
        if self.pool is None:
            if single:
                raise ValueError("OtherBackground: expected a batch, or a pool of other images, got a sample alone")
            usable: NDArray[np.bool_] = torch.as_tensor(sample[f"has_{CORE}"]).cpu().numpy()
            chosen = self._chosen(ids, labels, numbers, ids.__getitem__, labels, usable)
            places = [k if other is None else other for k, other in enumerate(chosen)]
            others, cores = images[places], masks_of_sample(sample, single)[0][places]
        else:
            rows, store = self.pool.joined.rows, self.pool.store
            theirs = store.rows.labels[rows].astype(np.int64)
            usable = store.has(CORE)[theirs]
            chosen = self._chosen(
                ids, labels, numbers, lambda j: str(store.rows.image_ids[int(rows[j])].as_py()), theirs, usable
            )
            found = [self.pool[other or 0] for other in chosen]
            others = torch.stack([_like(each[IMAGE].as_subclass(Tensor), images[0]) for each in found])
            cores = torch.cat([masks_of_sample(each, True)[0] for each in found]).to(images.device)
        if self.without_object:
            objects = (1.0 - region_masks(cores, cores, self.region)).clamp(0.0, 1.0)
            others = corrupt(others, objects, Inpaint(), image_seeds(seed, ids))
        there = torch.tensor([other is not None for other in chosen], device=images.device)
        return others, there[:, None, None, None].float()

    def _chosen(
        self,
        ids: Sequence[str],
        labels: NDArray[np.integer],
        numbers: Sequence[Sequence[int]],
        id_of: Callable[[int], str],
        theirs: NDArray[np.integer],
        has_core: NDArray[np.bool_],
    ) -> list[int | None]:
        """For each image the place of another one. theirs, has_core: of those to choose from."""
        found: list[int | None] = []
        for image_id, label, drawn in zip(ids, labels.tolist(), numbers, strict=True):
            places = [number % len(theirs) for number in drawn]
            good = [j for j in places if (has_core[j] or not self.without_object) and id_of(j) != image_id]
            found.append(next((j for j in good if theirs[j] != label), good[0] if good else None))
        return found

    def extra_repr(self) -> str:
        pool = "batch" if self.pool is None else f"{len(self.pool)} images"
        return f"{super().extra_repr()}, pool={pool}, without_object={self.without_object}"


def _like(image: Tensor, wanted: Tensor) -> Tensor:
    """An image of a pool in the type of those that it comes to. Raises ValueError for one of another size."""
    if image.shape != wanted.shape:
        raise ValueError(
            f"OtherBackground: expected images of {tuple(wanted.shape)} from the pool, got {tuple(image.shape)}; "
            "give its dataset a transform to that size"
        )
    return (image if image.dtype == wanted.dtype else from_unit(to_unit(image), wanted.dtype)).to(wanted.device)

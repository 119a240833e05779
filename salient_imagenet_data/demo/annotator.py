"""The demo's annotator: the truth. It answers about a feature as a careful person would who sees the masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.geometry import to_crop_frame
from salient_imagenet_data.masks import dequantise
from salient_imagenet_data.names import MAIN_OBJECT
from salient_imagenet_data.scenes.render import SIZE, Scene, cue_kind
from salient_imagenet_data.store.reading import Store


def answer_all(store: Store, scene_of: Callable[[str], Scene], images: int = 5) -> list[Answer]:
    """Answers about every pair of a store of scenes: one for each of its `images` most activating images.

    An answer is spurious where the map's mean over the cue's pixels is greater than over the object's, and
    says which kind of cue the scene shows. scene_of: the scene of an image id.
    """
    answers = []
    for feature in store.features:
        slot = feature.slot
        rows = np.flatnonzero(store.rows.labels == feature.class_index)
        top = rows[np.argsort(-store.activations[rows, slot], kind="stable")[:images]]
        for number, row in enumerate(top.tolist(), start=1):
            scene = scene_of(store.rows[row].image_id)
            pixels = to_crop_frame(dequantise(store.maps[row, slot]), SIZE, SIZE)
            answer, reason = _judge(pixels, scene)
            answers.append(
                Answer(
                    f"truth-{number}",
                    feature.class_name,
                    feature.class_index,
                    feature.feature_index,
                    feature.rank,
                    answer,
                    5,
                    reason,
                )
            )
    return answers


def _judge(pixels: NDArray[np.float32], scene: Scene) -> tuple[str, str]:
    on_object = float(pixels[scene.core].mean())
    if scene.cue is None or not scene.spurious.any():
        return MAIN_OBJECT, f"no cue in the scene; {on_object:.2f} on the object"
    on_cue = float(pixels[scene.spurious].mean())
    reason = f"{on_cue:.2f} on {scene.cue}, {on_object:.2f} on the object"
    return (cue_kind(scene.cue) if on_cue > on_object else MAIN_OBJECT), reason

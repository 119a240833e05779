"""The demo's figures against truth, on features and masks typed by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from salient_imagenet_data.demo.page import TILES, contact_sheet
from salient_imagenet_data.demo.truth import Overlap, find_cues, score_masks
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.names import CORE, KINDS, SPURIOUS
from salient_imagenet_data.pictures.classes import SIDE, corner
from salient_imagenet_data.pictures.overlay import COLOURS, tint
from salient_imagenet_data.pictures.tiles import GAP
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.scenes.render import cue_kind
from salient_imagenet_data.store.reading import Store

WITH = next(k for k, c in enumerate(CLASSES) if c.cue is not None)
WITHOUT = next(k for k, c in enumerate(CLASSES) if c.cue is None)
KIND = cue_kind(CLASSES[WITH].cue)  # type: ignore[arg-type]
OTHER = {"background": "separate_object", "separate_object": "background"}[KIND]


def test_a_cue_is_found_by_spurious_features_of_its_class_and_kind_only(store: Store) -> None:
    def feature(class_index: int, index: int, kind: Any, cue: Any) -> Any:
        changed = {"class_index": class_index, "feature_index": index, "kind": kind, "cue": cue}
        return dataclasses.replace(store.features[0], **changed)

    features = [
        feature(WITH, 7, SPURIOUS, KIND),
        feature(WITH, 8, SPURIOUS, OTHER),
        feature(WITH, 9, CORE, None),
        feature(WITHOUT, 10, SPURIOUS, KIND),
        feature(WITHOUT, 11, CORE, None),
    ]
    cues, alarms = find_cues(features)
    mine = [cue for cue in cues if cue.class_name == CLASSES[WITH].name]
    assert len(cues) == sum(c.cue is not None for c in CLASSES) and [cue.features for cue in mine] == [(7,)]
    assert [cue.found for cue in cues].count(True) == 1
    assert mine[0].to_json() == {
        "class": CLASSES[WITH].name,
        "cue": CLASSES[WITH].cue,
        "kind": KIND,
        "found": True,
        "features": [7],
    }
    assert [alarm.to_json() for alarm in alarms] == [{"class": CLASSES[WITHOUT].name, "feature": 10}]


def test_overlap_of_masks_typed_by_hand() -> None:
    truth = np.zeros((4, 4), dtype=bool)
    truth[:2] = True
    right, wrong = truth.astype(np.float32), (~truth).astype(np.float32)
    assert Overlap.of([right], [truth]) == Overlap(1.0, 1.0, 1)
    assert Overlap.of([right, wrong], [truth, truth]) == Overlap(0.5, 0.5, 2)
    assert Overlap.of([], []) == Overlap(None, None, 0)


def test_masks_are_scored_against_their_own_truth(store: Store) -> None:
    scenes = SceneSource(40, seed=5)
    truth = {}
    for index in range(len(scenes)):
        entry = scenes.entry(index)
        scene = scenes.scene(index)  # the masks have 56 pixels a side, and these are so many of the scene's
        scene = dataclasses.replace(scene, core=scene.core[4:60, 4:60], spurious=scene.spurious[4:60, 4:60])
        truth[f"{scenes.class_names[entry.label]}/{entry.image_id}"] = scene
    scores = score_masks(store, truth.__getitem__)
    assert set(scores) == {"core", "background", "separate_object"}
    with_core = sum(store.mask(row, CORE) is not None for row in range(len(store)))
    assert scores["core"].whole.n == with_core == sum(o.n for o in scores["core"].classes.values()) > 0
    shown = 0
    for row, record in enumerate(store.rows):
        scene, cue = truth[record.image_id], CLASSES[record.label].cue
        shown += (
            store.mask(row, SPURIOUS) is not None
            and cue is not None
            and scene.cue == cue
            and bool(scene.spurious.any())
        )
    assert scores["background"].whole.n + scores["separate_object"].whole.n == shown > 0
    means = [o.auroc for o in scores["core"].classes.values()]
    weights = [o.n for o in scores["core"].classes.values()]
    assert scores["core"].whole.auroc == pytest.approx(np.average(means, weights=weights))


def test_the_sheet_shows_each_class_beside_its_core_in_blue_and_its_spurious_in_orange(
    store: Store, images: Path
) -> None:
    sheet = np.asarray(contact_sheet(store, FolderSource(images)))
    seen = dict.fromkeys(KINDS, 0)
    for label in range(len(store.class_names)):
        row = int(np.flatnonzero(store.rows.labels == label)[0])
        left, top = corner(label, TILES)
        for column, kind in enumerate(KINDS, start=1):
            mask, begin = store.mask(row, kind), left + column * (SIDE + GAP)
            shown = sheet[top : top + SIDE, begin : begin + SIDE].astype(float)
            if mask is None:
                assert np.median(shown) == 255
                continue
            seen[kind] += 1
            small = np.asarray(Image.fromarray(mask).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            beside = sheet[top : top + SIDE, left : left + SIDE]
            assert np.array_equal(shown, tint(beside, small, COLOURS[kind]))
    assert seen == {CORE: 9, SPURIOUS: 9}

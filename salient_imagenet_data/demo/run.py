"""The demo: the main job on the embedded scenes, through the same code as real data, checked against truth."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.demo.annotator import answer_all
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.masks import to_uint8
from salient_imagenet_data.names import CORE, CORE_MASK, IMAGE, IMAGE_ID, KINDS, LABEL, SPURIOUS, SPURIOUS_MASK
from salient_imagenet_data.scenes import CLASSES, SceneSource
from salient_imagenet_data.scenes.render import Scene, cue_kind
from salient_imagenet_data.store.reading import Store

SCENES, DECORRELATED = 2000, 1000
"""Numbers of scenes: with the cue in 90 % of a class, and with cues that say nothing about the class."""
SEED = 2022
"""Scenes of the demo; the embedded weights were trained on scenes of another seed."""
SIGMAS = (0.25, 0.5)
"""Noise levels. 0.25 is the paper's, for photographs; these scenes are plainer, and 0.5 tells more."""
NETWORKS = ("robust", "standard")
MARKER = "demo.json"


def run(out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Do everything below `out` and return the report. Raises SalientError if `out` exists."""
    from salient_imagenet_data.builder.build import build
    from salient_imagenet_data.networks.robust import load_model

    _prepare(out, overwrite)
    seconds: dict[str, float] = {}
    scenes = SceneSource(SCENES, seed=SEED, correlation=0.9)
    with _timed(seconds, "scenes"):
        truth = write_scenes(scenes, out / "images")
        source = FolderSource(out / "images")
    for name in NETWORKS:  # left there for the reader's own commands
        with as_file(files("salient_imagenet_data.scenes") / f"{name}.safetensors") as weights:
            shutil.copyfile(weights, out / f"{name}.safetensors")
    with _timed(seconds, "build"):
        robust, sha256 = load_model(out / "robust.safetensors")
        build(source, robust, out / "store", weights_sha256=sha256)
    with _timed(seconds, "annotate"):
        store = Store(out / "store")
        write_annotations(out / "answers.csv", answer_all(store, truth.__getitem__))
        store = annotate(out / "store", read_annotations(out / "answers.csv"))
    with _timed(seconds, "load"):
        counts = {"scenes": len(source), "features": len(store.features), **_load(store, source, out)}
    with _timed(seconds, "truth"):
        cues, false_alarms = find_cues(store)
        masks = score_masks(store, truth)
    with _timed(seconds, "evaluate"):
        classifiers = _evaluate(store, source, out)
    with _timed(seconds, "report"):
        contact_sheet(store, source).save(out / "contact_sheet.png")
        result = {
            "counts": counts,
            "cues": cues,
            "spurious_in_classes_without_cue": false_alarms,
            "masks": masks,
            "sigmas": list(SIGMAS),
            "classifiers": classifiers,
        }
        _write_page(result, out / "index.html")
    # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {**result, "resources": {"seconds": {k: round(v, 2) for k, v in seconds.items()}, "peak_mib": round(peak)}}


def write_scenes(scenes: SceneSource, folder: Path) -> dict[str, Scene]:
    """Write scenes as a class-per-folder tree of PNG files. Returns each scene by its image id."""
    truth: dict[str, Scene] = {}
    for index in range(len(scenes)):
        entry, scene = scenes.entry(index), scenes.scene(index)
        path = folder / scenes.class_names[entry.label] / f"{entry.image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(path, compress_level=1)
        truth[f"{scenes.class_names[entry.label]}/{entry.image_id}"] = scene
    return truth


def find_cues(store: Store) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For each planted cue, the class's features that were called spurious and of the cue's kind; and the spurious
    features of classes without a cue."""
    cues, false_alarms = [], []
    for class_index, scene_class in enumerate(CLASSES):
        spurious = [f for f in store.features if f.class_index == class_index and f.kind == SPURIOUS]
        if scene_class.cue is None:
            false_alarms += [{"class": scene_class.name, "feature": f.feature_index} for f in spurious]
            continue
        kind = cue_kind(scene_class.cue)
        found = [f.feature_index for f in spurious if f.cue == kind]
        cues.append(
            {"class": scene_class.name, "cue": scene_class.cue, "kind": kind, "found": bool(found), "features": found}
        )
    return cues, false_alarms


def score_masks(store: Store, truth: dict[str, Scene]) -> dict[str, Any]:
    """AUROC and IoU (at 0.5) of masks against the scenes' pixels: mean over images where the thing is there.

    A spurious mask is scored on images that show the class's own cue.
    """
    from salient_imagenet_data.evaluation.numbers.overlap import auroc, iou

    values: dict[str, list[tuple[int, float, float]]] = {"core": [], "background": [], "separate_object": []}
    for row, record in enumerate(store.rows):
        scene, cue = truth[record.image_id], CLASSES[record.label].cue
        core, spurious = store.mask(row, CORE), store.mask(row, SPURIOUS)
        if core is not None:
            values["core"].append((record.label, auroc(core, scene.core), iou(core, scene.core)))
        if spurious is not None and cue is not None and scene.cue == cue and scene.spurious.any():
            scores = (record.label, auroc(spurious, scene.spurious), iou(spurious, scene.spurious))
            values[cue_kind(cue)].append(scores)
    return {name: _mean_scores(scored) for name, scored in values.items()}


def contact_sheet(store: Store, source: FolderSource) -> Image.Image:
    """Image, core mask and spurious mask of each class's first image; hatched where there is no such mask."""
    from salient_imagenet_data.joining import join

    joined, tile, margin, aside = join(store, source), 128, 18, 60
    sheet = Image.new("RGB", (aside + len(store.class_names) * tile, 3 * tile + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for line, words in enumerate((IMAGE, *KINDS)):
        draw.text((4, margin + line * tile + tile // 2), words, fill="black")
    for class_index, name in enumerate(store.class_names):
        row = next(r for r, record in enumerate(store.rows) if record.label == class_index)
        left = aside + class_index * tile
        draw.text((left + 4, 3), name, fill="black")
        tiles: list[NDArray[np.uint8] | None] = [joined.crop(row)]
        tiles += [None if (mask := store.mask(row, kind)) is None else to_uint8(mask) for kind in KINDS]
        for line, pixels in enumerate(tiles):
            top = margin + line * tile
            if pixels is not None:
                sheet.paste(Image.fromarray(pixels).resize((tile, tile), Image.Resampling.NEAREST), (left, top))
                continue
            for offset in range(0, 2 * tile, 12):
                start, end = (max(0, offset - tile), min(offset, tile)), (min(offset, tile), max(0, offset - tile))
                draw.line([(left + start[0], top + start[1]), (left + end[0], top + end[1])], fill="#cccccc")
            draw.text((left + 52, top + 58), "none", fill="#666666")
    return sheet


def table(result: dict[str, Any], out: Path) -> str:
    """The report in a few lines of text."""

    def cell(e: dict[str, Any]) -> str:
        return f"{e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}]"

    lines = [
        f"{'classifier':<10} {'sigma':>5} "
        + " ".join(f"{h:>20}" for h in ("core accuracy", "spurious accuracy", "accuracy", "decorrelated"))
    ]
    for name, c in result["classifiers"].items():
        for sigma in c["core"]:
            cells = [c["core"][sigma]["accuracy"], c["spurious"][sigma]["accuracy"], c["clean"], c["decorrelated"]]
            lines.append(f"{name:<10} {sigma:>5} " + " ".join(cell(e) for e in cells))
    found = sum(c["found"] for c in result["cues"])
    lines.append(f"cues found: {found} of {len(result['cues'])}")
    lines.append(f"spurious features in classes without a cue: {len(result['spurious_in_classes_without_cue'])}")
    for name, scores in result["masks"].items():
        lines.append(
            f"{name} masks against truth: AUROC {scores['auroc']:.3f}, IoU {scores['iou']:.3f} ({scores['n']} images)"
        )
    seconds = result["resources"]["seconds"]
    lines.append(f"{sum(seconds.values()):.1f} s, {result['resources']['peak_mib']} MiB; see {out / 'index.html'}")
    return "\n".join(lines)


def _prepare(out: Path, overwrite: bool) -> None:
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise SalientError(
                f"{out}: exists", expected="a new folder", then="choose another --out or use --overwrite"
            )
        if not (out / MARKER).is_file():
            raise SalientError(f"{out}: not a demo", got="a folder with other files", then="choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text('{"made_by": "salient-imagenet demo"}\n')


def _load(store: Store, source: FolderSource, out: Path) -> dict[str, int]:
    """Open the store in every way, and check that all ways agree on one image."""
    from salient_imagenet_data.dataset import load_dataset
    from salient_imagenet_data.loaders.numpy_loader import NumpyLoader
    from salient_imagenet_data.loaders.torch_dataset import SalientImageNet

    table = load_dataset(store.path, images=source.root, cache_dir=str(out / "cache"))
    torch_set = SalientImageNet(store, source)
    batch = next(iter(NumpyLoader(store, source, batch_size=8)))
    ours, sample = table[0], torch_set[0]
    same = ours[IMAGE_ID] == sample[IMAGE_ID] == batch[IMAGE_ID][0] and ours[LABEL] == sample[LABEL]
    same = same and np.array_equal(np.asarray(ours[IMAGE]), batch[IMAGE][0])
    same = same and np.array_equal(sample[IMAGE].permute(1, 2, 0).numpy(), batch[IMAGE][0])
    for column in (CORE_MASK, SPURIOUS_MASK):
        same = same and np.array_equal(sample[column][0].numpy(), batch[column][0])
        if ours[column] is not None:
            same = same and np.array_equal(np.asarray(ours[column]), to_uint8(batch[column][0]))
    if not same:
        raise SalientError("loaders disagree about the first image", then="this is a defect; please report it")
    return {"dataset_rows": len(table), "torch_samples": len(torch_set), "numpy_rows": len(NumpyLoader(store).rows)}


def _evaluate(store: Store, source: FolderSource, out: Path) -> dict[str, Any]:
    from salient_imagenet_data.builder.train import correct, load_images
    from salient_imagenet_data.evaluation.evaluate import evaluate
    from salient_imagenet_data.evaluation.numbers.estimates import wilson
    from salient_imagenet_data.networks.robust import load_model

    preprocessing = store.manifest.preprocessing
    decorrelated = SceneSource(DECORRELATED, seed=SEED + 1, correlation=0.0)
    sets = {
        "clean": load_images(source, preprocessing, 1 << 30),
        "decorrelated": load_images(decorrelated, preprocessing, 1 << 30),
    }
    result = {}
    for name in NETWORKS:
        model, sha256 = load_model(out / f"{name}.safetensors")
        plain = {key: asdict(wilson(int(correct(model, x, y).sum()), len(x))) for key, (x, y, _) in sets.items()}
        masked = evaluate(model, store, source, sigmas=SIGMAS, controls=False)["sigma"]
        result[name] = {
            "weights_sha256": sha256,
            **plain,
            "core": {sigma: entry["core_accuracy"] for sigma, entry in masked.items()},
            "spurious": {sigma: entry["spurious_accuracy"] for sigma, entry in masked.items()},
        }
    return result


def _mean_scores(scored: list[tuple[int, float, float]]) -> dict[str, Any]:
    def mean(rows: list[tuple[int, float, float]]) -> dict[str, Any]:
        if not rows:
            return {"auroc": None, "iou": None, "n": 0}
        return {
            "auroc": float(np.mean([r[1] for r in rows])),
            "iou": float(np.mean([r[2] for r in rows])),
            "n": len(rows),
        }

    classes = sorted({label for label, _, _ in scored})
    return {**mean(scored), "per_class": {CLASSES[c].name: mean([r for r in scored if r[0] == c]) for c in classes}}


def _write_page(result: dict[str, Any], path: Path) -> None:
    import jinja2

    text = (files("salient_imagenet_data.demo") / "demo.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(text).render(**result)
    path.write_text(page, encoding="utf-8")


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start

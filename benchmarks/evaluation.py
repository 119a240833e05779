"""What an evaluation with k conditions costs, in forward passes over the same images.

    python benchmarks/evaluation.py --architecture resnet50 --images 60

makes JPEG files of scenes enlarged to photograph size and a store over them (maps of a random network: only their
shape counts), then times two things in turn: the bare forward passes of the model on batches that are in memory, and
the whole evaluation: decoding, masks, corruption, inference, predictions file. Prints JSON. The claim is
evaluation <= 1.15 x (k + 1) passes, where a pass is one image through the model once.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder.build import BuildConfig, build
from salient_imagenet_data.evaluation.evaluate import Conditions
from salient_imagenet_data.evaluation.run.infer import infer
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.joining import Joined, join
from salient_imagenet_data.networks.classifiers import Classifier, Normalised
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig, SmallNetModel
from salient_imagenet_data.scenes import SceneSource
from salient_imagenet_data.store.reading import Store

PHOTO = (500, 375)
"""Width and height of the JPEG files, as most of ImageNet's."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_store(folder: Path, images: int) -> tuple[Store, FolderSource]:
    """A store with 7 x 7 maps and five features a class, two of them spurious."""
    scenes = SceneSource(images, seed=1)
    for index in range(images):
        entry = scenes.entry(index)
        path = folder / "images" / scenes.class_names[entry.label] / f"{entry.image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scenes.pixels(index)).resize(PHOTO).save(path, quality=90)
    torch.manual_seed(0)
    net = SmallNet(SmallNetConfig(10, (8, 8, 8, 8, 12), 1, 2))
    robust = SmallNetModel(net, Preprocessing(256, 224), scenes.class_names).eval()
    source = FolderSource(folder / "images")
    config = BuildConfig(group_by="label", top_images=images)
    store = build(source, robust, folder / "store", weights_sha256="0" * 64, config=config)
    answers = [
        Answer(
            f"p{n}", f.class_name, f.class_index, f.feature_index, f.rank,
            "background" if f.rank in (2, 4) else "main_object", 5, "",
        )
        for f in store.features
        for n in range(3)
    ]  # fmt: skip
    write_annotations(folder / "answers.csv", answers)
    return annotate(folder / "store", read_annotations(folder / "answers.csv")), source


def seconds(work: Callable[[], object], *, of_cpu: bool) -> float:
    """Seconds that the work takes: by the clock, or of this process's time on the CPU."""
    clock = time.process_time if of_cpu else time.perf_counter
    start = clock()
    work()
    return clock() - start


def bare_passes(model: torch.nn.Module, images: torch.Tensor, batch_size: int) -> None:
    """One pass over images (n, 3, S, S), which are on the device."""
    with torch.inference_mode():
        for part in images.split(batch_size):
            model(part).cpu()


def in_memory(joined: Joined) -> torch.Tensor:
    """(n, 3, S, S) float32 in [0, 1]."""
    crops = np.stack([joined.crop(k) for k in range(len(joined))])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255


@click.command()
@click.option("--architecture", default="resnet50", help="torchvision model, with random weights.")
@click.option("--images", type=int, default=60)
@click.option("--sigma", default="0.25,0.5")
@click.option("--protocol", "protocols", multiple=True, default=("iclr2022",))
@click.option("--batch-size", type=int, default=16)
@click.option("--workers", type=int, default=0)
@click.option("--rounds", type=int, default=3)
@click.option("--threads", type=int, default=2)
@click.option("--device", default="cpu")
@click.option("--cpu-time", is_flag=True, help="Time on the CPU, for a busy machine; without workers.")
def main(
    architecture: str,
    images: int,
    sigma: str,
    protocols: tuple[str, ...],
    batch_size: int,
    workers: int,
    rounds: int,
    threads: int,
    device: str,
    cpu_time: bool,
) -> None:
    """Time both in turn and print the ratio of each round."""
    import torchvision

    if cpu_time and device != "cpu":
        raise click.UsageError("--cpu-time says nothing of a device")
    torch.set_num_threads(threads)
    net = torchvision.models.get_model(architecture, weights=None, num_classes=10).eval()
    model = Normalised(net, MEAN, STD).to(device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store, source = make_store(folder, images)
        plan = Conditions(protocols, tuple(float(s) for s in sigma.split(","))).plan(store)
        joined = join(store, source, rows=plan.rows.tolist())
        shown = len(plan.rows) + sum(len(plan.regions[c.region].rows) for c in plan.conditions)
        settings = Settings(batch_size, workers, device=device)
        x = in_memory(joined).to(device)
        ratios, passes, wholes = [], [], []
        bare = partial(bare_passes, model, x, batch_size)
        classifier = Classifier("model", model, channels_last=True)  # as models by name are run, and the bare passes
        whole = partial(infer, classifier, joined, plan, folder / "p.parquet", settings, overwrite=True)
        bare()
        if device != "cpu":
            whole()  # a device's first use of every operation is slower
        for _ in range(rounds):
            before = seconds(bare, of_cpu=cpu_time)
            wholes.append(seconds(whole, of_cpu=cpu_time))
            # The pass after the evaluation counts as much as the one before, since a machine's pace drifts.
            passes.append((before + seconds(bare, of_cpu=cpu_time)) / 2 / len(x))
            ratios.append(wholes[-1] / (shown * passes[-1]))
    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {threads} threads, torch {torch.__version__}, {device}",
        "clock": "time on the CPU" if cpu_time else "wall clock",
        "architecture": architecture,
        "images": len(joined),
        "conditions": len(plan.conditions),
        "images_through_the_model": shown,
        "seconds_a_pass_and_image": [round(p, 4) for p in passes],
        "seconds_of_the_evaluation": [round(w, 2) for w in wholes],
        "evaluation_over_passes": [round(r, 3) for r in ratios],
    }
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

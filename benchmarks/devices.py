"""What a CUDA device gains: the same commands on the processor and on the device, in one run.

    python -m benchmarks.devices [--device cuda] [--images 200] [--architecture resnet18]

Makes a store over JPEGs of ImageNet's size, then times an evaluation, sufficient input subsets, a guided fine-tuning of
one epoch and an adversarial one with three steps, each from command to files. On the device once before the clock
starts, since its first use of every operation is slower.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
import torchvision

from benchmarks.evaluation import make_store
from salient_imagenet_data.cli import cli

CLASSES = 10


def seconds(arguments: list[object], device: str, out: Path) -> float:
    """Of one command, which must end well."""
    words = [str(a) for a in (*arguments, "--device", device, "--out", out)]
    said = io.StringIO()
    start = time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        cli.main(words, standalone_mode=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--architecture", default="resnet18", help="of torchvision, with random weights")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store, _ = make_store(folder, options.images)
        torch.manual_seed(0)
        torch.save(
            torchvision.models.get_model(options.architecture, num_classes=CLASSES).state_dict(), folder / "net.pt"
        )
        network = ["--architecture", f"torchvision:{options.architecture}", "--weights", folder / "net.pt"]
        of_store: list[object] = [store.path, "--images", folder / "images", *network, "--workers", options.workers]
        few: list[object] = ["--cell", 14, "--step", 4, "--tau", 0.01, "--fold", "1/10"]
        once: list[object] = ["--from", f"torchvision:{options.architecture}", "--weights", folder / "net.pt"]
        once += ["--crop", 224, "--epochs", 1, "--steps", 3, "--attacked", 1, "--batch-size", 64]
        commands: dict[str, tuple[list[object], str]] = {
            "evaluate, noise": (["evaluate", *of_store], "e"),
            "sis, a tenth of the images, 14 x 14 cells": (["sis", *of_store, *few], "s"),
            "finetune, energy of input x gradient": (["finetune", *of_store], "g.safetensors"),
            "finetune, energy of Grad-CAM": (["finetune", *of_store, "--saliency", "grad_cam"], "c.safetensors"),
            "train, three adversarial steps": (
                [
                    "train",
                    "--images",
                    folder / "images",
                    "--from",
                    f"torchvision:{options.architecture}",
                    *network[2:],
                    *once,
                ],
                "t.safetensors",
            ),
        }
        name = torch.cuda.get_device_name(options.device) if options.device != "cpu" else "cpu"
        print(f"{date.today()}: {name} beside {platform.machine()} with {torch.get_num_threads()} threads,")
        print(f"torch {torch.__version__}, {options.architecture}, {options.images} images of 500 x 375")
        print("| command | processor, s | device, s | times |")
        print("| --- | --- | --- | --- |")
        for what, (arguments, out) in commands.items():
            seconds(arguments, options.device, folder / f"warm_{out}")
            there = seconds(arguments, options.device, folder / f"there_{out}")
            here = seconds(arguments, "cpu", folder / f"here_{out}")
            print(f"| {what} | {here:.1f} | {there:.1f} | {here / there:.1f} |", flush=True)


if __name__ == "__main__":
    main()

"""A build whose every batch takes a moment, for a test that kills it: python -m tests.builder.units.slow_build IMAGES WEIGHTS OUT."""

from __future__ import annotations

import os
import sys
import time

import torch

from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.units.engine import make_engine
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import load_model
from salient_imagenet_data.networks.smallnet import SmallNetModel
from salient_imagenet_data.store import writing as store_writer

if __name__ == "__main__":
    pause = float(os.environ["SLOW"])
    plain, write = SmallNetModel.maps, store_writer.write_manifest

    def slow_maps(self: SmallNetModel, images: torch.Tensor) -> torch.Tensor:
        if torch.is_inference_mode_enabled():  # else it is attacked
            time.sleep(pause)
        return plain(self, images)

    def slow_manifest(*arguments: object) -> None:
        time.sleep(10 * pause)
        write(*arguments)  # type: ignore[arg-type]

    SmallNetModel.maps = slow_maps  # type: ignore[method-assign]
    store_writer.write_manifest = slow_manifest  # type: ignore[assignment]
    model, sha256 = load_model(sys.argv[2])
    config = BuildConfig(group_by="label", top_features=4, top_images=2, shard_rows=16, batch_size=5, attacked=4)
    run = RunConfig(pilot=int(os.environ.get("PILOT", "0")), candidates=int(os.environ.get("CANDIDATES", "24")))
    basis, engine = os.environ.get("BASIS"), make_engine("local")
    build(
        FolderSource(sys.argv[1]), model, sys.argv[3], weights_sha256=sha256, config=config, run=run, basis=basis,
        engine=engine, resume=True,
    )  # fmt: skip

"""The words that a build is told, each beside what it chooses. No torch: the command line takes its lists from here."""

from __future__ import annotations

from typing import Literal

from salient_imagenet_data.names import NEURONS, PCA, SAE

Edition = Literal["full", "top65"]
"""All images, or only the top images of at least one pair."""
GroupBy = Literal["prediction", "label"]
"""Whether a class's images are those predicted or those labelled as it."""
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
"""Of the network."""
Decoder = Literal["pillow", "pillow+torch", "simplejpeg", "nvjpeg"]
"""Of the images: `units.decoding`."""
Stage = Literal["features", "ranking", "maps"]
"""After which a build may stop."""
BASES = (NEURONS, PCA, f"{SAE}:FILE[,relu]")
"""What the features of a store are: neurons of the network, components of each class's (`discovery.components`), or
latents of a sparse autoencoder (`discovery.sparse`)."""
Norm = Literal["l2", "linf"]
"""Of the ball of an attack."""
HeadOf = Literal["cut", "new"]
"""What a fine-tuning does to the head: the outputs of the classes are kept, or new ones are made."""
Statistics = Literal["batch", "kept"]
"""Of batch normalisation in a fine-tuning: of each batch, or as they came."""
PassPrecision = Literal["float32", "bfloat16"]
"""Of the passes of a fine-tuning."""
EngineName = Literal["local", "ray"]
"""Who does the units: `units.engine`."""

"""Features in which a cue goes with the class, for tests of methods on groups."""

from __future__ import annotations

import numpy as np
import torch

from salient_imagenet_data.evaluation.mitigation.heads.fitting import Data, fit_head


def leaning(n: int = 400, classes: int = 3, seed: int = 0, correlation: float = 0.9) -> tuple[Data, np.ndarray]:
    """Data whose first `classes` features show the class weakly and the next its cue strongly, which is there in a share
    of the images of its class, else that of the next class; and whether it is the class's own. The head that is there
    was fitted on them: it leans on the cue."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    own = rng.random(n) < correlation
    cue = np.where(own, labels, (labels + 1) % classes)
    core = 1.2 * np.eye(classes)[labels] + rng.normal(size=(n, classes))
    shown = 3.0 * np.eye(classes)[cue] + 0.5 * rng.normal(size=(n, classes))
    x, y = torch.from_numpy(np.hstack([core, shown])).float(), torch.from_numpy(labels)
    start = fit_head(x, y, torch.zeros(classes, 2 * classes), torch.zeros(classes), decay=1e-2)
    scores = np.take_along_axis(shown, labels[:, None], axis=1)[:, 0]
    return Data(x, y, start.weight, start.bias, scores, np.ones(classes, dtype=bool)), own


def accuracy(data: Data, weight: torch.Tensor, bias: torch.Tensor | None, where: np.ndarray) -> float:
    """Of a head, on some images."""
    logits = data.features @ weight.T + (0.0 if bias is None else bias)
    return float((logits.argmax(dim=1) == data.labels).numpy()[where].mean())

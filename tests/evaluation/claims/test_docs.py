"""The example of docs/naming.md, as it is pasted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from salient_imagenet_data.evaluation.claims.reading import read_claims
from salient_imagenet_data.evaluation.claims.scoring import score_discovery
from salient_imagenet_data.store.reading import Store

PAGE = Path(__file__).parents[3] / "docs" / "naming.md"


def test_a_store_s_own_features_as_claims_find_themselves(store: Store, tmp_path: Path) -> None:
    (script,) = [block for block in PAGE.read_text().split("```python\n") if block.startswith("import json")]
    (tmp_path / "claims.py").write_text(script.partition("```")[0])
    subprocess.run([sys.executable, "claims.py", str(store.path)], cwd=tmp_path, check=True)
    found = score_discovery(store, read_claims(tmp_path / "claims.json"))
    spurious = sum(f.kind == "spurious" for f in store.features)
    assert found.recall is not None and (found.recall.value, found.recall.n) == (1.0, spurious)
    assert found.precision is not None and found.precision.value == 1.0 and not found.unknown_images
    assert min(f.iou for f in found.features) > 0.75  # less than 1 by the way through 64 x 64 pixels of the image

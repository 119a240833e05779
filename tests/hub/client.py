"""What a user runs against a Hub, in a process of its own since the clients read their settings when imported:
python -m tests.hub.client ACTION ARGUMENT... prints one JSON object, or one line of error with status 2."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from salient_imagenet_data.errors import SalientError


def store(repo: str) -> dict[str, Any]:
    from salient_imagenet_data import Store

    opened = Store(repo)
    return {"rows": len(opened), "maps": hashlib.sha256(np.asarray(opened.maps).tobytes()).hexdigest()}


def load(repo: str, config: str, revision: str = "main") -> dict[str, Any]:
    import datasets

    table = datasets.load_dataset(repo, config, split="train", revision=revision)
    return {"rows": len(table), "columns": table.column_names, "first": table[0]["label"]}


def stream(repo: str, config: str, rows: str) -> dict[str, Any]:
    import datasets

    found = list(datasets.load_dataset(repo, config, split="train", streaming=True).take(int(rows)))
    return {"ids": [row["image_id"] for row in found]}


def snapshot(repo: str) -> dict[str, Any]:
    import huggingface_hub

    folder = Path(huggingface_hub.snapshot_download(repo, repo_type="dataset"))
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def joined(repo: str, images: str) -> dict[str, Any]:
    from salient_imagenet_data import load_dataset

    table = load_dataset(repo, images=images)
    return {"rows": len(table), "columns": table.column_names, "size": table[0]["image"].size}


def push(store: str, images: str, *columns: str) -> dict[str, Any]:
    from salient_imagenet_data import load_dataset

    load_dataset(store, images=images).select_columns(list(columns)).push_to_hub("org/pushed")
    return {}


if __name__ == "__main__":
    try:
        print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
    except SalientError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)

"""The real clients over HTTP, against tests/hub_server.py: publish, download, load, stream, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salient_imagenet_data.hub.target import files_of
from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.store.reading import Store
from tests.hub.conftest import IDS, LABELS
from tests.hub.stores import make_store, write_images
from tests.hub_server import TOKEN, Fault, HubServer, Repository, serve
from tests.warm import Warm

REPO = "org/name"


@dataclass
class Client:
    """Runs commands as a user with a cache of their own."""

    server: HubServer
    home: Path
    warm: Warm

    def run(self, *arguments: object, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
        settings = {
            "HF_ENDPOINT": self.server.url,
            "HF_HOME": str(self.home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_ETAG_TIMEOUT": "5",
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | settings
        if token:
            env["HF_TOKEN"] = token
        return self.warm.run("-m", *arguments, env=env, timeout=180)

    def publish(self, store: Store, *options: object) -> subprocess.CompletedProcess[str]:
        out = self.home / "export"
        return self.run("salient_imagenet_data.cli", "publish", store.path, "--repo", REPO, "--out", out, *options)

    def read(self, *arguments: object, token: str | None = TOKEN) -> Any:
        done = self.run("tests.hub.client", *arguments, token=token)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def until_done(self, *arguments: object, tries: int = 3) -> tuple[Any, list[str]]:
        """Repeat a command until it is done; every failure must be one line."""
        errors: list[str] = []
        for _ in range(tries):
            done = self.run("tests.hub.client", *arguments)
            if done.returncode == 0:
                return json.loads(done.stdout), errors
            errors.append(one_line(done))
        raise AssertionError(errors)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a failed command, which must be the only line that is not the client's own warning."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


@pytest.fixture
def client(tmp_path: Path, clients: Warm) -> Iterator[Client]:
    with serve() as server:
        yield Client(server, tmp_path / "home", clients)


def offered(server: HubServer, folder: Path) -> None:
    """The repository as if it had been published."""
    repository = Repository.new(False)
    files = {name: (folder / name).read_bytes() for name in files_of(folder)}
    repository.tags["v1.0.0"] = repository.commit({**repository.commits[-1][1], **files})
    server.repositories[REPO] = repository


def test_publish_then_read_in_every_way(client: Client, drawn: Store, photos: Path) -> None:
    done = client.publish(drawn, "--gated")
    assert done.returncode == 0, done.stderr
    repository = client.server.repositories[REPO]
    assert len(repository.commits) == 2 and repository.tags == {"v1.0.0": repository.head}
    assert repository.gated == "auto" and not repository.private
    folder = client.home / "export"
    files = {name: (folder / name).read_bytes() for name in files_of(folder)}
    assert {n: d for n, d in repository.commits[-1][1].items() if n != ".gitattributes"} == files
    assert not [name for name in files if name.endswith(".py")]
    writes = [path.split("/")[-2] for method, path, _, _ in client.server.log if method in ("POST", "PUT")]
    assert writes[-1] == "tag" and writes[-2] == "commit" and writes.count("commit") == 1
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert client.read("snapshot", REPO) == sums | {".gitattributes": client.read("snapshot", REPO)[".gitattributes"]}
    maps = hashlib.sha256(np.asarray(drawn.maps).tobytes()).hexdigest()
    assert client.read("store", REPO) == {"rows": 44, "maps": maps}
    before = len(client.server.requests("GET", "/(cdn|resolve)/"))
    assert client.read("store", f"{REPO}@v1.0.0")["rows"] == 44
    assert len(client.server.requests("GET", "/(cdn|resolve)/")) == before  # from the cache
    masks = client.read("load", REPO, "masks", "v1.0.0")
    assert masks == {"rows": 44, "columns": ["image_id", "label", "core_mask", "spurious_mask"], "first": 0}
    table = client.read("joined", REPO, photos)
    assert table == {
        "rows": 44,
        "columns": ["image_id", "image", "label", "core_mask", "spurious_mask", "has_core", "has_spurious"],
        "size": [32, 32],
    }


def test_streaming_asks_for_ranges(client: Client, exported: Path) -> None:
    offered(client.server, exported)
    assert client.read("stream", REPO, "grids", 5)["ids"] == IDS[:5]
    ranges = [entry for entry in client.server.requests("GET", "/cdn/") if entry[2]]
    assert ranges and all(status == 206 for *_, status in ranges)
    shards = {hashlib.sha256(p.read_bytes()).hexdigest(): p.name for p in (exported / "grids").iterdir()}
    touched = {shards[path.split("/")[-1]][:11] for _, path, _, _ in ranges}
    assert "train-00000" in touched and "train-00004" not in touched


def test_publishing_again_changes_nothing_and_new_data_needs_a_new_tag(
    client: Client, drawn: Store, tmp_path: Path
) -> None:
    assert client.publish(drawn).returncode == 0
    again = client.publish(drawn)
    assert again.returncode == 0 and "0 files changed" in again.stdout
    repository = client.server.repositories[REPO]
    assert len(repository.commits) == 2
    other = make_store(tmp_path / "other", IDS[:20], LABELS[:20], seed=1)
    line = one_line(client.publish(other, "--overwrite"))
    assert "the tag v1.0.0 is there already, with other content" in line and len(repository.commits) == 2
    newer = make_store(tmp_path / "newer", IDS[:20], LABELS[:20], seed=1, data_version="1.1.0")
    assert client.publish(newer, "--overwrite").returncode == 0
    assert set(repository.tags) == {"v1.0.0", "v1.1.0"} and len(repository.commits) == 3
    # The new commit holds nothing of the old export: fewer rows, fewer store shards.
    files = files_of(client.home / "export")
    assert sorted(repository.commits[-1][1]) == sorted([*files, ".gitattributes"])
    assert client.read("store", f"{REPO}@v1.0.0")["rows"] == 44 and client.read("store", REPO)["rows"] == 20


def test_private_without_a_token_is_one_line(client: Client, drawn: Store) -> None:
    assert client.publish(drawn, "--private", "--revision", "beta").returncode == 0
    repository = client.server.repositories[REPO]
    assert repository.private and set(repository.tags) == {"beta"}
    line = one_line(client.run("tests.hub.client", "store", REPO, token=None))
    assert "org/name: cannot download it, and there is no such folder; expected a data set on the Hub" in line


def test_gated_without_a_token_is_one_line(client: Client, exported: Path) -> None:
    offered(client.server, exported)
    client.server.repositories[REPO].gated = "auto"
    line = one_line(client.run("tests.hub.client", "store", REPO, token=None))
    assert "access to a gated data set" in line and "HF_TOKEN" in line
    assert client.read("store", REPO)["rows"] == 44


def test_no_right_to_write_is_one_line(client: Client, drawn: Store) -> None:
    out = client.home / "export"
    arguments = ("salient_imagenet_data.cli", "publish", drawn.path, "--repo", REPO, "--out", out)
    line = one_line(client.run(*arguments, token="hf_wrong"))
    assert "cannot prepare the repository" in line and "HF_TOKEN" in line


def test_an_upload_survives_a_busy_server(client: Client, drawn: Store) -> None:
    busy = Fault("POST .*/preupload", status=503), Fault("POST .*/objects/batch", status=500)
    client.server.faults = [
        *busy,
        Fault("PUT /lfs/", status=503),
        Fault("PUT /lfs/", status=429, headers={"Retry-After": "1"}),
    ]
    done = client.publish(drawn)
    for _ in range(3):
        if done.returncode:
            one_line(done)
            done = client.publish(drawn)
    assert done.returncode == 0 and all(fault.times == 0 for fault in client.server.faults)
    assert client.server.repositories[REPO].tags


def test_a_failed_commit_leaves_the_old_data_set_and_goes_on(client: Client, drawn: Store) -> None:
    client.server.faults = [Fault("POST .*/commit/", status=500)]
    line = one_line(client.publish(drawn))
    assert "cannot upload" in line and "HTTP 500" in line and "run the same command again to go on" in line
    repository = client.server.repositories[REPO]
    assert len(repository.commits) == 1 and not repository.tags
    sent = len(client.server.requests("PUT", "/lfs/"))
    assert sent > 5 and client.publish(drawn).returncode == 0
    assert len(client.server.requests("PUT", "/lfs/")) == sent  # nothing is sent twice
    assert len(repository.commits) == 2 and repository.tags


def test_a_failed_tag_goes_on_without_a_second_commit(client: Client, drawn: Store) -> None:
    client.server.faults = [Fault("POST .*/tag/", status=500)]
    assert "cannot set the tag v1.0.0" in one_line(client.publish(drawn))
    assert client.publish(drawn).returncode == 0
    repository = client.server.repositories[REPO]
    assert len(repository.commits) == 2 and repository.tags == {"v1.0.0": repository.head}


def test_an_edited_export_is_not_published(client: Client, drawn: Store) -> None:
    client.server.faults = [Fault("POST .*/commit/", status=500)]
    one_line(client.publish(drawn))
    card = client.home / "export" / "README.md"
    card.write_text(card.read_text() + "edited")
    assert "README.md: not as it was exported" in one_line(client.publish(drawn))
    assert not client.server.repositories[REPO].tags


def test_a_conflicting_commit_is_one_line_and_goes_on(client: Client, drawn: Store) -> None:
    def meanwhile() -> None:
        repository = client.server.repositories[REPO]
        repository.commit({**repository.commits[-1][1], "NOTES.md": b"by someone else"})

    client.server.faults = [Fault("POST .*/preupload", first=meanwhile)]
    line = one_line(client.publish(drawn))
    assert "HTTP 412" in line and "someone else changed it meanwhile" in line
    repository = client.server.repositories[REPO]
    assert sorted(repository.commits[-1][1]) == [".gitattributes", "NOTES.md"] and not repository.tags
    done = client.publish(drawn)
    assert done.returncode == 0 and repository.commits[-1][1]["NOTES.md"] == b"by someone else"
    assert "org/name: 1 files that are not of this package stay, such as NOTES.md" in done.stderr


def test_another_data_set_is_neither_replaced_nor_gated(client: Client, drawn: Store) -> None:
    theirs = {"README.md": b"# Theirs", "data/train.parquet": b"rows", "masks/0.png": b"a mask"}
    repository = client.server.repositories[REPO] = Repository.new(False)
    repository.commit({**repository.commits[-1][1], **theirs})
    line = one_line(client.publish(drawn, "--gated", "--private"))
    assert "org/name: holds another data set; expected an empty one, or one that this package published" in line
    assert "got README.md, data/train.parquet, masks/0.png; choose another name" in line
    assert len(repository.commits) == 2 and not (repository.tags or repository.gated or repository.private)
    repository.commit({".gitattributes": b"", "README.md": b"---\nlicense: mit\n---\n"})  # as the Hub's page makes it
    assert client.publish(drawn).returncode == 0
    assert b"Core and spurious masks" in repository.commits[-1][1]["README.md"] and repository.tags


def test_a_download_ends_or_goes_on(client: Client, exported: Path) -> None:
    offered(client.server, exported)
    client.server.faults = [
        Fault("GET /cdn/", cut=True),
        Fault("GET .*/resolve/.*manifest", cut=True),
        Fault("GET /cdn/", status=503),
        Fault("GET /cdn/", status=429, headers={"Retry-After": "1"}),
        Fault("HEAD .*/resolve/.*images.parquet", status=500),
        Fault("GET /api/datasets/.*", status=500),
    ]
    result, errors = client.until_done("store", REPO, tries=7)
    assert result["rows"] == 44 and all(fault.times == 0 for fault in client.server.faults)
    assert len(errors) <= len(client.server.faults)


def test_a_wrong_hash_is_found_and_fetched_again(client: Client, exported: Path) -> None:
    offered(client.server, exported)
    client.server.faults = [Fault("GET /cdn/", corrupt=True)]
    line = one_line(client.run("tests.hub.client", "store", REPO))
    assert "damaged on the way, and is removed from the cache" in line
    assert client.read("store", REPO)["rows"] == 44
    # Damage after the check is found too: the note of the check says which bytes it saw.
    (snapshot,) = (client.home / "hub" / "datasets--org--name" / "snapshots").iterdir()
    table = (snapshot / "store" / "images.parquet").resolve()
    data = bytearray(table.read_bytes())
    data[100] ^= 1
    table.write_bytes(data)
    assert "store/images.parquet was damaged" in one_line(client.run("tests.hub.client", "store", REPO))
    assert client.read("store", REPO)["rows"] == 44


def test_a_hostile_manifest_touches_nothing_outside(client: Client, exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "hostile"))
    manifest = json.loads((folder / "store" / "manifest.json").read_text())
    manifest["files"]["../../../../victim"] = "00" * 32
    (folder / "store" / "manifest.json").write_text(json.dumps(manifest))
    offered(client.server, folder)
    assert "names a file outside the store" in one_line(client.run("tests.hub.client", "store", REPO))


def test_a_joined_table_cannot_be_pushed(client: Client, drawn: Store, photos: Path, tmp_path: Path) -> None:
    line = one_line(client.run("tests.hub.client", "push", drawn.path, photos, "core_mask"))
    assert "push_to_hub: the column core_mask is made when it is read" in line and "salient-imagenet export" in line
    ids = [f"{wnid}_{i}" for i, wnid in enumerate(wnids()[:3])]
    store = make_store(tmp_path / "imagenet", ids, [0, 1, 2], wnids()[:3])
    images = write_images(tmp_path / "tree", [f"{i.split('_')[0]}/{i}" for i in ids])
    line = one_line(client.run("tests.hub.client", "push", store.path, images, "image"))
    assert "push_to_hub: the column image is made when it is read" in line
    pushed = client.server.repositories.get("org/pushed")
    assert pushed is None or set(pushed.commits[-1][1]) == {".gitattributes"}


def test_what_is_not_there_is_one_line(client: Client) -> None:
    assert "org/name: cannot download" in one_line(client.run("tests.hub.client", "store", REPO))
    client.server.repositories[REPO] = Repository.new(False)
    assert "holds no store" in one_line(client.run("tests.hub.client", "store", REPO))
    assert "a revision that exists" in one_line(client.run("tests.hub.client", "store", f"{REPO}@v9"))

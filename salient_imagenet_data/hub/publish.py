"""Publish an export: settings first, then every file in one commit, then the tag."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub.layout import README, STORE_FOLDER, belongs
from salient_imagenet_data.hub.target import read_marker
from salient_imagenet_data.hub_errors import hub_errors
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.store.manifest import file_sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_KEPT = (".gitattributes",)
"""Files that the Hub puts into a repository itself."""
MANIFEST_PATH = f"{STORE_FOLDER}/{MANIFEST}"


@dataclass(frozen=True)
class Published:
    """Where a data set was published. commit: hex id. files: how many had to be changed."""

    url: str
    commit: str
    tag: str
    files: int


def publish(
    folder: Path,
    repo: str,
    *,
    tag: str,
    private: bool = False,
    gated: Literal["auto", "manual"] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Published:
    """Make the data set `repo` on the Hub hold what the finished export `folder` holds, and tag it.

    Of an older export nothing stays; files that stand where no export has one are left and told. There is one commit:
    a reader sees the old data set or the new one, never a mixture; the tag is set last. Files that the Hub has already
    are not sent again: after a failure, the same call goes on. private and gated are set before anything is uploaded.
    tell: called with a line at each step. Raises SalientError if a file is not as it was exported, if another data set
    is there, if the tag exists with other content, if someone else commits meanwhile, or if the Hub refuses or
    cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, files = HfApi(library_name="salient-imagenet-data"), read_marker(folder)
    with hub_errors(repo, "prepare the repository"):
        url = str(api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True))
        head = api.repo_info(repo, repo_type="dataset").sha
        there = _remote_files(api, repo, head)
        tagged = _tags(api, repo).get(tag)
    others = _others(repo, there)
    if private or gated:
        with hub_errors(repo, "prepare the repository"):
            api.update_repo_settings(repo, repo_type="dataset", gated=gated, private=True if private else None)
    changed = [name for name, sha256 in files.items() if there.get(name) not in (sha256, _git_id(folder / name))]
    gone = [name for name in there if name not in files and belongs(name)]
    if tagged is not None and (tagged != head or changed or gone):
        raise SalientError(
            f"{repo}: the tag {tag} is there already, with other content",
            expected="a new data version, or another --revision",
            got=f"{tag} at commit {tagged[:12]}",
        )
    commit = head
    for name in changed:
        if file_sha256(folder / name) != files[name]:
            raise SalientError(
                f"{folder / name}: not as it was exported",
                expected=f"sha256 {files[name]}",
                then="export again with --overwrite, to a new folder if this one holds edits of yours",
            )
    if others:
        tell(f"{repo}: {len(others)} files that are not of this package stay, such as {others[0]}")
    if changed or gone:
        tell(f"{repo}: uploading {len(changed)} of {len(files)} files, removing {len(gone)}")
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, str(folder / name)) for name in changed),
            *(CommitOperationDelete(name) for name in gone),
        ]
        with hub_errors(repo, "upload"):
            info = api.create_commit(
                repo, operations, commit_message=f"Data version {tag}", repo_type="dataset", parent_commit=head
            )
        commit = info.oid
    if tagged is None:
        with hub_errors(repo, f"set the tag {tag}"):
            api.create_tag(repo, tag=tag, revision=commit, repo_type="dataset", exist_ok=False)
    assert commit is not None
    return Published(url, commit, tag, len(changed) + len(gone))


def _others(repo: str, there: Iterable[str]) -> list[str]:
    """Files that are not ours, which stay. Raises SalientError where ours would take the place of another data set's. A
    card alone, as the Hub's page makes one, is none."""
    found = sorted(set(there) - set(_KEPT))
    clash = [name for name in found if belongs(name)]
    if clash and MANIFEST_PATH not in found and found != [README]:
        raise SalientError(
            f"{repo}: holds another data set",
            expected=f"an empty one, or one that this package published, with {MANIFEST_PATH}",
            got=", ".join(found[:5]),
            then="choose another name",
        )
    return [name for name in found if not belongs(name)]


def _remote_files(api: HfApi, repo: str, revision: str | None) -> dict[str, str]:
    """By path: sha256 of a large file, git blob id of a small one."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo, repo_type="dataset", recursive=True, revision=revision)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    return {f.path: f.lfs.sha256 if f.lfs is not None else f.blob_id for f in files}


def _tags(api: HfApi, repo: str) -> dict[str, str]:
    return {ref.name: ref.target_commit for ref in api.list_repo_refs(repo, repo_type="dataset").tags}


def _git_id(path: Path) -> str:
    """What git calls a blob of these bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

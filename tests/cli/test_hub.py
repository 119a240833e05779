"""`export` and `publish` in this process, against a Hub on the loopback interface: lines, statuses, what is written and
what arrives. The real clients in processes of their own are in tests/hub/test_http.py."""

from __future__ import annotations

import io
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from tqdm import tqdm

from salient_imagenet_data.cli.hub import _bar_of
from salient_imagenet_data.hub.target import files_of
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.hub.stores import make_store, write_images
from tests.hub_server import TOKEN, HubServer, serve

IDS = ["bar/0", "cross/0", "ring/0", "star/0"]
REPO = "org/name"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of four images, and these."""
    folder = tmp_path_factory.mktemp("made")
    make_store(folder / "store", IDS, [0, 1, 2, 3], data_version="3.1.0")
    write_images(folder / "images", IDS)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of the store, beside which an export may stand."""
    return Path(shutil.copytree(made / "store", tmp_path / "store"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The Hub that this process reaches, with the right to write."""
    with serve() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_publish_names_the_folder_and_the_tag_after_the_store(place: Path, hub: HubServer, run: Run) -> None:
    code, out, err = run("publish", place, "--repo", REPO)
    repository, folder = hub.repositories[REPO], place.with_name("store.hub")
    files = files_of(folder)
    assert (code, out) == (
        0,
        f"{hub.url}/datasets/{REPO} at v3.1.0 (commit {repository.head[:12]}, {len(files)} files changed)\n",
    )
    assert f"{REPO}: uploading {len(files)} of {len(files)} files, removing 0\n" in err
    assert repository.tags == {"v3.1.0": repository.head} and not (repository.private or repository.gated)
    held = {name: (folder / name).read_bytes() for name in files}
    assert {name: data for name, data in repository.commits[-1][1].items() if name != ".gitattributes"} == held
    assert f'load_dataset("{REPO}"' in held["README.md"].decode() and not (folder / "with_images").exists()


def test_every_option_of_publish_arrives(place: Path, made: Path, hub: HubServer, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    given = ("publish", place, "--repo", REPO, "--out", folder)
    with_images = ("--images", made / "images", "--redistribute")
    code, out, _ = run(*given, *with_images, "--private", "--gated", "--revision", "beta")
    assert code == 0 and " at beta (commit " in out and not place.with_name("store.hub").exists()
    repository = hub.repositories[REPO]
    assert set(repository.tags) == {"beta"} and repository.private and repository.gated == "auto"
    assert [name for name in files_of(folder) if name.startswith("with_images/")]
    assert run(*given, *with_images)[1].endswith(" files changed)\n")  # the same export, under its own tag
    assert set(repository.tags) == {"beta", "v3.1.0"} and len(repository.commits) == 2
    code, _, err = run(*given, "--revision", "third")  # without images, so it is another export
    assert code == 2 and f"{folder}: exists; expected a new folder" in err and "use --overwrite" in err
    assert run(*given, "--revision", "third", "--overwrite")[0] == 0
    assert set(repository.tags) == {"beta", "v3.1.0", "third"}
    assert not [name for name in repository.commits[-1][1] if name.startswith("with_images/")]


def test_a_store_that_is_no_folder_here_needs_a_place_for_its_export(place: Path, hub: HubServer, run: Run) -> None:
    code, out, err = run("publish", "org/other", "--repo", REPO)
    assert (code, out) == (2, "") and err == (
        "Error: org/other is no folder here: give --out FOLDER for the export; see `salient-imagenet publish -h`\n"
    )
    assert not hub.repositories
    code, _, err = run("publish", place.with_name("nowhere"), "--repo", REPO, "--out", place.with_name("x"))
    assert code == 2 and "nowhere" in err and "--out" not in err


def test_images_are_exported_only_with_a_word_for_it(
    place: Path, made: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "it's out"
    given = ("export", place, "--out=~/it's out", "--images", made / "images")
    code, out, err = run(*given)
    assert (code, out) == (2, "") and "expected --redistribute beside --images" in err and err.count("\n") == 1
    assert not folder.exists()
    code, out, _ = run(*given, "--redistribute", "--repo", "me/mine")
    wrote, following = out.splitlines()
    assert (code, wrote) == (0, f"wrote {folder}") and following.startswith("next: python -c ")
    assert shlex.split(following)[3] == f'import datasets; print(datasets.load_dataset("{folder}"))'
    assert 'load_dataset("me/mine"' in (folder / "README.md").read_text()
    assert list((folder / "with_images").iterdir())


def test_masks_for_another_tool_are_written_again_only_when_asked(
    place: Path, made: Path, run: Run, tmp_path: Path
) -> None:
    given = ("export", place, "--out", tmp_path / "out", "--format")
    code, out, _ = run(*given, "coco")
    assert (code, out) == (0, f"wrote {tmp_path / 'out'}: 3 core masks; 4 images; 3 spurious masks\n")
    for repo in ("A/first", "me/mine"):
        assert "--repo is for --format hub: the others have no card" in run(*given, "coco", "--repo", repo)[2]
    with_images = (*given, "webdataset", "--images", made / "images")
    code, out, err = run(*with_images, "--redistribute")
    assert (code, out) == (2, "") and "use --overwrite" in err
    code, out, err = run(*with_images, "--overwrite")
    assert (code, out) == (2, "") and "expected --redistribute beside --images" in err
    assert (tmp_path / "out" / "annotations.json").exists()
    assert run(*with_images, "--redistribute", "--overwrite")[0] == 0
    assert list((tmp_path / "out").glob("*.tar")) and not (tmp_path / "out" / "annotations.json").exists()


def test_the_bar_shows_how_many_of_how_many_are_written() -> None:
    shown = io.StringIO()
    with tqdm(total=0, file=shown, mininterval=0, ascii=True, desc="exporting", unit="file") as bar:
        done = _bar_of(bar)
        for finished in (1, 3, 4):
            done(finished, 4)
    lines = [line.partition("[")[0].split("|") for line in shown.getvalue().split("\r") if "|" in line]
    assert [(start.split()[1], end.strip()) for start, _, end in lines][-3:] == [
        ("25%", "1/4"),
        ("75%", "3/4"),
        ("100%", "4/4"),
    ]


def test_a_store_is_never_exported_into_itself(place: Path, run: Run) -> None:
    code, _, err = run("export", place, "--out", place / "hub")
    assert code == 2 and "would lie in one another" in err and Store(place).verify() is None

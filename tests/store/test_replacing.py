from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from salient_imagenet_data.annotation.applying import annotate
from salient_imagenet_data.annotation.verdicts import Annotations
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub import export as export_module
from salient_imagenet_data.names import MANIFEST
from salient_imagenet_data.places import Folder, upload
from salient_imagenet_data.store.locks import held
from salient_imagenet_data.store.reading import Store
from tests.conftest import answers_for


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "store"))


def other(store: Store) -> Annotations:
    """Answers that say the opposite."""
    turned = {"main_object": "background"}
    return Annotations(tuple(replace(a, answer=turned.get(a.answer, "main_object")) for a in answers_for(store)), "ab")


def kinds(store: Store) -> list[str | None]:
    return [feature.kind for feature in store.features]


def killed_at(number: int, when: str, store: Path, answers: Annotations) -> int | None:
    """Annotate in a child that kills itself before or after its rename of that number; None if it had none left."""
    pid = os.fork()
    if pid == 0:
        plain, count = Path.replace, iter(range(100))

        def renamed(self: Path, target: Path) -> Path:
            this = next(count) == number
            if this and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            done = plain(self, target)
            if this:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        Path.replace = renamed  # type: ignore[method-assign]
        annotate(store, answers)
        os._exit(0)
    return None if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else number


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_killed_it_leaves_the_old_state_or_the_new_and_the_next_leaves_nothing_behind(
    copy: Path, store: Store, number: int, when: str
) -> None:
    names, new = sorted(os.listdir(copy)), [f.kind for f in store.features]
    answers = other(store)
    turned = [{"core": "spurious", "spurious": "core"}[str(kind)] for kind in new]
    assert killed_at(number, when, copy, answers) == number
    found = Store(copy)
    found.verify()
    switched = (number, when) in ((1, "after"), (2, "before"), (2, "after"))
    assert kinds(found) == (turned if switched else new)
    assert (found.manifest.annotations_sha256 == "ab") == switched
    annotate(copy, answers).verify()
    assert sorted(os.listdir(copy)) == names and kinds(Store(copy)) == turned


def test_there_are_three_renames_to_be_killed_at(copy: Path, store: Store) -> None:
    assert killed_at(3, "before", copy, other(store)) is None


def test_a_second_process_is_told_in_one_line(copy: Path, store: Store) -> None:
    with held(copy), pytest.raises(SalientError, match=r"another process is writing here; got host .*pid \d+"):
        annotate(copy, other(store))
    assert kinds(Store(copy)) == kinds(store)


def test_a_file_of_another_that_looks_like_ours_stays(copy: Path, store: Store) -> None:
    (copy / "features-0123456789abcdef.parquet").write_bytes(b"mine")
    annotate(copy, other(store))
    assert (copy / "features-0123456789abcdef.parquet").read_bytes() == b"mine"


def test_an_opened_store_stays_what_it_was(copy: Path, store: Store) -> None:
    opened = Store(copy)
    annotate(copy, other(store))
    assert kinds(opened) == kinds(store) != kinds(Store(copy))


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_behind_a_url_readers_find_a_pair_at_every_moment(
    store: Store, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    place = Folder.of(f"memory://{uuid4()}/store")
    upload(store.path, place, last=MANIFEST)
    plain, left = Folder.write, iter(range(stop))

    def write(self: Folder, name: str, fill: object) -> None:
        if self.path is None and next(left, None) is None:
            raise KeyboardInterrupt
        plain(self, name, fill)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "write", write)
    if stop < 3:
        with pytest.raises(KeyboardInterrupt):
            annotate(place.place, other(store))
    else:
        annotate(place.place, other(store))
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    found = Store(place.place)
    found.verify()
    assert (kinds(found) == kinds(store)) == (stop == 1)
    assert (found.manifest.annotations_sha256 == "ab") == (stop > 1)


def test_an_export_during_which_the_store_changes_is_none(
    copy: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = export_module._copy_store

    def slow(*arguments: object) -> None:
        plain(*arguments)  # type: ignore[arg-type]
        annotate(copy, other(store))

    monkeypatch.setattr(export_module, "_copy_store", slow)
    with pytest.raises(SalientError, match="changed while it was exported; export it again"):
        export_module.export(Store(copy), tmp_path / "out")
    assert not (tmp_path / "out").exists()

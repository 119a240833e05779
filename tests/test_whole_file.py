from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.whole_file import UNFINISHED, check_new, sweep, whole_file, write_bytes, write_text


def test_a_file_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old" and (tmp_path / f"a.json{UNFINISHED}").read_bytes() == b"new"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.json"]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_the_bytes_are_on_the_disk_before_the_name_is_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        calls.append(f"rename to {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_bytes(tmp_path / "a", b"x")
    assert calls == [f"sync a{UNFINISHED}", "rename to a", f"sync {tmp_path.name}"]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '{tmp_path / 'a'}'"):
            write_bytes(tmp_path / "a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/a'"):
        write_bytes(tmp_path / "nowhere" / "a", b"x")


def test_sweeping_takes_ours_only(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in (f"a{UNFINISHED}", f"deep/b{UNFINISHED}", "film.mp4.partial", "deep/notes"):
        (tmp_path / name).write_bytes(b"")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["film.mp4.partial", "notes"]


def test_a_name_says_what_is_in_the_file(tmp_path: Path) -> None:
    check_new(tmp_path / "a.PNG", ending=".png")
    with pytest.raises(SalientError, match="look.jpg: would be of another kind; expected a name that ends in .png"):
        check_new(tmp_path / "look.jpg", ending=".png")

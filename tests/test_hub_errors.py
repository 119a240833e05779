"""Without a way to the Hub: what is in its cache is used, all else fails at once, in one line."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.hub_errors import cached_where_offline, hub_errors
from salient_imagenet_data.networks.checkpoint import fetch


@pytest.fixture(autouse=True)
def _nobody_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address at which nothing listens, no proxy, and a cache of our own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_what_is_not_in_the_cache_fails_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(SalientError, match=r"hf://org/name/w.pt: cannot be downloaded; got no connection to 127.0.0.1"):
        fetch("hf://org/name/w.pt")
    assert time.monotonic() - began < 3 and constants.HF_HUB_OFFLINE is False


def test_what_is_in_the_cache_is_used(tmp_path: Path) -> None:
    commit = "a" * 40
    repo = tmp_path / "cache" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots" / commit / "w.pt").write_bytes(b"weights")
    assert fetch("hf://org/name/w.pt").read_bytes() == b"weights"


def test_it_is_known_to_all_that_ask_and_only_while_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with cached_where_offline("x"):
        assert constants.HF_HUB_OFFLINE and datasets.config.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE
    with (
        pytest.raises(SalientError, match="org/name: cannot download; got no connection"),
        hub_errors("org/name", "download"),
    ):
        huggingface_hub.HfApi().repo_info("org/name")
    with pytest.raises(SalientError, match="^mine$"), cached_where_offline("x"):
        raise SalientError("mine")


def test_a_proxy_is_asked_whatever_is_reached_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with cached_where_offline("x"):
        assert not constants.HF_HUB_OFFLINE


def test_a_server_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with cached_where_offline("x"):
            assert not constants.HF_HUB_OFFLINE


def test_offline_by_will_the_next_step_is_not_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from salient_imagenet_data.store.reading import Store

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("org/name", "hf://datasets/org/name", "https://huggingface.co/datasets/org/name"):
        with pytest.raises(
            SalientError, match=r"^org/name: no such folder, .*; offline, only what .* unset HF_HUB_OFFLINE to r"
        ):
            Store(name)
    with (
        pytest.raises(
            SalientError, match=r"x: cannot load; got ValueError: no; offline, only what .* unset HF_HUB_OFFLINE to r"
        ),
        hub_errors("x", "load"),
    ):
        raise ValueError("no")

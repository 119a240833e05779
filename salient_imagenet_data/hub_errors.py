"""Errors of the Hub's client as one line each."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from salient_imagenet_data.errors import SalientError

_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
"""huggingface_hub 0.x speaks through requests, 1.x through httpx, 2.x through httpx2; their errors share no base."""


@contextmanager
def hub_errors(repo: str, doing: str, kind: str = "data set") -> Iterator[None]:
    """Turn what the Hub's client raises into a SalientError that names the repository and the remedy. kind: of
    repository."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"{repo}: cannot {doing}"
    again = _offline() or "run the same command again to go on"
    try:
        with cached_where_offline(what):
            yield
    except GatedRepoError as error:
        raise SalientError(
            what,
            expected=f"access to a gated {kind}",
            got=_status(error),
            then=f"accept its terms on its page, then `hf auth login` or set HF_TOKEN, and {again}",
        ) from error
    except (RepositoryNotFoundError, LocalTokenNotFoundError) as error:
        raise SalientError(
            what,
            expected=f"a {kind} on the Hub (or an existing folder) that you may use",
            got=_status(error),
            then="check the name; if it is private, `hf auth login` or set HF_TOKEN",
        ) from error
    except RevisionNotFoundError as error:
        raise SalientError(what, expected="a revision that exists", got=_status(error)) from error
    except HfHubHTTPError as error:
        then = again
        if error.response is not None and error.response.status_code == 412:
            then = "someone else changed it meanwhile: " + again
        elif error.response is not None and error.response.status_code in (401, 403):
            then = "`hf auth login` or set HF_TOKEN to a token that may write there"
        raise SalientError(what, got=_status(error), then=then) from error
    except HFValidationError as error:
        raise SalientError(what, expected="a name such as org/name", got=str(error)) from error
    except LocalEntryNotFoundError as error:
        raise SalientError(
            f"{repo}: no such folder, and not to be had from the Hub", got=_cause(error), then=again
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise SalientError(what, got=_cause(error), then=again) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in _HTTP_LIBRARIES:
            raise
        raise SalientError(what, got=_cause(error), then=again) from error


def _offline() -> str:
    """What to do where a person has said that the Hub is not to be asked; empty where it is."""
    from huggingface_hub import constants

    here = constants.HF_HUB_OFFLINE or ("datasets" in sys.modules and sys.modules["datasets"].config.HF_HUB_OFFLINE)
    return "offline, only what the Hub's cache holds can be used: unset HF_HUB_OFFLINE to reach the Hub" if here else ""


@contextmanager
def cached_where_offline(what: str) -> Iterator[None]:
    """Where the Hub cannot be reached, its client gives what is in its cache, and what is not fails at once: else it
    tries each request six times, with seconds between. Behind a proxy nobody can tell, so nothing is done.

    Raises SalientError(what) then, in place of whatever the client or a library on top of it makes of that.
    """
    from huggingface_hub import constants

    why = "" if constants.HF_HUB_OFFLINE else _no_way_to(constants.ENDPOINT)
    if not why:
        yield
        return
    places = [(constants, "HF_HUB_OFFLINE")]
    if "datasets" in sys.modules:
        places += [(sys.modules["datasets"].config, name) for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")]
    before = [(module, name, getattr(module, name)) for module, name in places if hasattr(module, name)]
    _set([(module, name, True) for module, name, _ in before])
    try:
        yield
    except (SalientError, ImportError):
        raise
    except Exception as error:
        raise SalientError(
            what, got=why, then="only what the Hub's cache holds can be used so; check the connection"
        ) from error
    finally:
        _set(before)


def _set(values: list[tuple[Any, str, bool]]) -> None:
    import huggingface_hub.utils

    for module, name, value in values:
        setattr(module, name, value)
    # Versions below 1.0 read the setting when they make a session, and keep that.
    getattr(huggingface_hub.utils, "reset_sessions", lambda: None)()


def _no_way_to(address: str) -> str:
    """Why a server cannot be spoken to; empty where it can, or where a proxy would do it."""
    parts = urlsplit(address)
    if parts.scheme in getproxies() or not parts.hostname:
        return ""
    try:
        socket.create_connection((parts.hostname, parts.port or {"http": 80}.get(parts.scheme, 443)), 5).close()
    except OSError as error:
        return f"no connection to {parts.hostname} ({error.strerror or error})"
    return ""


def _status(error: BaseException) -> str:
    """Status and message of an answer, without the request's headers."""
    response = getattr(error, "response", None)
    message = getattr(error, "server_message", None) or str(error).strip().splitlines()[0]
    return message if response is None else f"HTTP {response.status_code} ({message[:200]})"


def _cause(error: BaseException) -> str:
    """The innermost error that says something: the client wraps them."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines else type(cause).__name__

"""Trouble of the system while a file is read: it passes or is mended, and says nothing about the file."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import TypeVar

from salient_imagenet_data.errors import SalientError

T = TypeVar("T")
WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds before each new try."""
_NAMES = (
    *("EIO", "EREMOTEIO", "ENXIO", "ENODEV", "ENOMEDIUM", "EAGAIN", "EINTR", "EBUSY", "EDEADLK", "ENOLCK", "ENOMEM"),
    *("EMFILE", "ENFILE", "ENOBUFS", "ESTALE", "ETIMEDOUT", "ETIME", "ENOTCONN", "ECOMM", "EPROTO"),
    *("ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE", "ESHUTDOWN", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    *("EHOSTDOWN", "EHOSTUNREACH", "ENOLINK", "EKEYEXPIRED", "EKEYREVOKED", "ENOKEY"),
)
TROUBLE = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))
"""Error numbers of the system that are no property of a file. Others, such as EINVAL for a seek to where a broken
header points, may be the file's own."""


def patiently(read: Callable[[], T], name: str, where: str | os.PathLike[str] | None = None) -> T:
    """What `read` gives, tried again after each of `WAITS` where the system is in trouble.

    where: path of the file, so that a file that is gone or may not be read counts as trouble too where its whole folder
    is. Any other exception is passed on. Raises SalientError, naming `name`, when the trouble stays.
    """
    for wait in (*WAITS, None):
        try:
            return read()
        except (OSError, MemoryError) as error:
            if not is_trouble(error, where):
                raise
            if wait is None:
                raise SalientError(
                    f"{name}: the system cannot read it, which says nothing about the file",
                    got=f"{said(error)}, {len(WAITS) + 1} times in {sum(WAITS):.0f} seconds",
                    then="run the command again when that is mended; a build goes on with --resume",
                ) from error
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def is_trouble(error: BaseException, where: str | os.PathLike[str] | None = None) -> bool:
    """Whether an error is the system's and not the file's."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, OSError):
        return False
    if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM) and where is not None:
        return not os.access(os.path.dirname(where) or ".", os.R_OK | os.X_OK)
    return error.errno in TROUBLE


def said(error: BaseException) -> str:
    """An error in words that hold no path."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{errno.errorcode.get(error.errno, error.errno)}: {os.strerror(error.errno)}"
    return "out of memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"

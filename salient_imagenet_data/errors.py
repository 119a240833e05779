"""The one exception a user is meant to read: a single line with what, expected, got and next step."""

from __future__ import annotations


class SalientError(Exception):
    """A mistake in the input or its state that the user can mend.

    The message is always one line. The command line prints it and exits with status 2.
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", then: str = "") -> None:
        parts = [what]
        if expected:
            parts.append(f"expected {expected}")
        if got:
            parts.append(f"got {got}")
        if then:
            parts.append(then)
        super().__init__(" ".join("; ".join(parts).split()))


class ImageError(SalientError):
    """One image that could not be decoded; the builder quarantines it and goes on."""

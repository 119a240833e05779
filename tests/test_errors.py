"""Errors are one line, also when torch hands them over from a worker process."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from salient_imagenet_data.errors import ImageError, SalientError


class Broken(Dataset[int]):
    """Every item is an image that cannot be read."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, item: int) -> int:
        raise ImageError("a.png: cannot decode", got="OSError: broken data stream", then="mend it")


def test_parts_are_joined_and_lines_folded() -> None:
    error = SalientError("a\nb", expected="c", got="d  e", then="f")
    assert str(error) == "a b; expected c; got d e; f"


def test_what_a_terminal_would_act_upon_is_written_out() -> None:
    assert str(SalientError("\x89PNG\r\x1a", got="\x1b[31mred\x07 ä")) == r"\x89PNG \x1a; got \x1b[31mred\x07 ä"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_says_what_one_of_this_process_says(workers: int) -> None:
    with pytest.raises(ImageError) as error:
        next(iter(DataLoader(Broken(), num_workers=workers)))
    assert str(error.value) == "a.png: cannot decode; got OSError: broken data stream; mend it"
    error.value.with_traceback(None)
    del error  # its frames hold the loader, and that its workers

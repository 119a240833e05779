from __future__ import annotations

import pytest

from salient_imagenet_data.imagenet import classes, display_name, display_names, id_of_path, wnids


def test_a_thousand_classes_in_devkit_order_with_unique_names() -> None:
    assert len(wnids()) == 1000 and list(wnids()) == sorted(wnids())
    assert len(set(classes().values())) == 1000
    known = {0: ("n01440764", "tench"), 134: ("n02012849", "crane bird"), 517: ("n03126707", "crane"),
             638: ("n03710637", "maillot"), 999: ("n15075141", "toilet tissue")}  # fmt: skip
    for index, pair in known.items():
        assert list(classes().items())[index] == pair


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("n01440764_10026_n01440764.JPEG", "n01440764_10026"),
        ("n01440764_10026", "n01440764_10026"),
        ("val/ILSVRC2012_val_00000293.JPEG", "ILSVRC2012_val_00000293"),
        ("ILSVRC2012_val_00000293_n01440764.JPEG", "ILSVRC2012_val_00000293"),
        ("deer/0012.jpg", "deer/0012"),
        ("deer/v1.2/0012.jpg", "deer/v1.2/0012"),
        ("deer/a.b.jpg", "deer/a.b"),
        ("deer/n01440764_10026_copy.JPEG", "deer/n01440764_10026_copy"),
    ],
)
def test_one_id_for_one_image(path: str, expected: str) -> None:
    assert id_of_path(path) == expected


def test_names_to_show() -> None:
    assert display_names(wnids())[517] == "crane"
    assert display_names(("cat", "dog")) == ("cat", "dog")


def test_wnids_are_shown_as_words_also_of_some_classes_only() -> None:
    assert display_names(wnids())[0] == "tench" and len(set(display_names(wnids()))) == 1000
    assert display_names(("n03417042", "n01440764", "cat")) == ("garbage truck", "tench", "cat")
    assert display_name("n03417042") == "garbage truck" and display_name("cat") == "cat"
    assert display_names(("n01440764", "tench")) == ("n01440764", "tench")  # else two classes would be called alike

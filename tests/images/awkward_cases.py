"""The cases of awkward files, by section of the page in the docs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np

from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.decoding import extensions
from tests.images.awkward_making import Case, gray, pack, picture, tree, write


def _link_to_folder(root: Path) -> None:
    write(root.parent / "elsewhere" / "7.png", picture(7))
    os.symlink(root.parent / "elsewhere", root / "cat" / "more")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's name may not be long
        made.bind(path.name)
        os.chdir(here)


def _kaggle(root: Path) -> None:
    inner = root / "ILSVRC/Data/CLS-LOC"
    write(inner / "val/ILSVRC2012_val_00000001.JPEG", picture(1, "JPEG"))
    for wnid in wnids()[:2]:
        write(inner / f"train/{wnid}/{wnid}_1.JPEG", picture(2, "JPEG"))
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n")


def _unpacked_imagenet(root: Path) -> None:
    for wnid in wnids()[:2]:
        write(root / f"train/{wnid}/{wnid}_1.JPEG", picture(2, "JPEG"))
    pack(root / "ILSVRC2012_img_train.tar", {f"{wnids()[0]}.tar": b"\0" * 10240})
    (root / "ILSVRC2012_devkit_t12" / "data").mkdir(parents=True)


def _splits(*names: str) -> Callable[[Path], object]:
    return lambda root: [tree(root / name, "cat", "dog") for name in names]


def _clips(root: Path) -> None:
    members = {f"clip.00{i}.{end}": data for i in (0, 1) for end, data in (("png", picture(i)), ("cls", b"%d" % i))}
    pack(root / "a.tar", members)


NAMED = ("0", "1")
FILES = [
    Case(
        "any ending that Pillow has for the formats above: .jpg, .jfif, .png, .gif, .pgm, .tif, .webp, .avif ...",
        "read",
        "",
        lambda r: [write(r / "cat" / f"x{i}{e}", picture(1)) for i, e in enumerate(extensions())],
        read=4 + len(extensions()),
    ),
    Case("a JPEG called .png, a PNG called .JPEG", "read", "", lambda r: write(r / "cat/x.JPEG", picture(1)), read=5),
    Case(
        "other files: notes.txt", "left out", "name ends in .txt", lambda r: write(r / "cat/notes.txt", b"no picture")
    ),
    Case("a file without an ending", "left out", "name without an ending", lambda r: write(r / "cat/README", b"x")),
    Case("a hidden file: .x.png", "left out", "hidden, its name begins with a dot", lambda r: write(r / "cat/.x.png")),
    Case(
        "a hidden folder: .ipynb_checkpoints",
        "left out",
        "hidden, its name begins with a dot",
        lambda r: [write(r / d / ".ipynb_checkpoints/1-checkpoint.png") for d in ("", "cat")],
    ),
    Case(
        "macOS's ._x.png and __MACOSX",
        "left out",
        "macOS keeps a file's other half in it",
        lambda r: [write(r / "cat/._0.png", b"\0\5\x16\7"), write(r / "__MACOSX/cat/._0.png", b"\0\5\x16\7")],
    ),
    Case("a linked folder", "read", "", _link_to_folder, read=5),
    Case("a linked picture", "read", "", lambda r: os.symlink(r / "dog/0.png", r / "cat/linked.png"), read=5),
    Case("a link to nothing", "left out", "link to nothing", lambda r: os.symlink("/nowhere/x", r / "cat/x.png")),
    Case(
        "a link to nothing in place of a class", "left out", "link to nothing", lambda r: os.symlink("/no", r / "zoo")
    ),
    Case(
        "a link back to a folder that it lies in",
        "left out",
        "link back to a folder that it lies in",
        lambda r: [os.symlink(r / "cat", r / "cat/again"), os.symlink(r, r / "self")],
    ),
    Case("a link to itself", "left out", "link to nothing", lambda r: os.symlink(r / "cat/x.png", r / "cat/x.png")),
    Case(
        "a folder in a class that may not be listed",
        "left out",
        "folder that may not be listed",
        lambda r: (r / "cat/locked").mkdir(mode=0),
        plain=True,
    ),
    Case(
        "a class folder that may not be listed",
        "refused",
        "cannot be listed; got EACCES: Permission denied",
        lambda r: (r / "locked").mkdir(mode=0),
        plain=True,
    ),
    Case("an empty class folder", "refused", "class folder without an image", lambda r: (r / "empty").mkdir()),
    Case(
        "a pipe called x.jpg",
        "left out",
        "no file but a pipe, socket or device",
        lambda r: os.mkfifo(r / "cat/x.jpg"),
    ),
    Case(
        "a socket called x.jpg",
        "left out",
        "no file but a pipe, socket or device",
        lambda r: _socket(r / "cat/x.jpg"),
    ),
    Case(
        "a device called x.jpg, by a link",
        "left out",
        "no file but a pipe",
        lambda r: os.symlink("/dev/zero", r / "cat/x.jpg"),
    ),
    Case(
        "a picture beside the class folders",
        "left out",
        "picture outside the class folders",
        lambda r: write(r / "x.png"),
    ),
    Case(
        "a name that is no UTF-8; its other bytes are written \\xNN in the id",
        "read",
        "",
        lambda r: write(r / "cat" / os.fsdecode(b"caf\xe9.png")),
        read=5,
    ),
    Case(
        "two names that differ in their ending only",
        "refused",
        "two images have the id 'cat/0'",
        lambda r: write(r / "cat/0.jpg"),
    ),
]
PICTURES = [
    Case("an empty file", "quarantine", "got no JPEG, PNG", lambda r: write(r / "cat/x.jpg", b""), read=5),
    Case("a text called x.jpg", "quarantine", "got no JPEG, PNG", lambda r: write(r / "cat/x.jpg", b"hello"), read=5),
    Case(
        "a file that is cut short",
        "quarantine",
        "cannot decode",
        lambda r: write(r / "cat/x.jpg", picture(1, "JPEG")[:-40]),
        read=5,
    ),
    Case(
        "PostScript, PDF or SVG called x.jpg; no other program is started",
        "quarantine",
        "got no JPEG, PNG",
        lambda r: write(r / "cat/x.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n"),
        read=5,
    ),
    Case(
        "a file that may not be read, in a folder that may",
        "quarantine",
        "got EACCES: Permission denied",
        lambda r: [write(r / "cat/x.jpg"), (r / "cat/x.jpg").chmod(0)],
        read=5,
        plain=True,
    ),
    Case(
        "16 bits of gray (PNG, TIFF, PGM): divided by 257 and rounded",
        "read",
        "",
        lambda r: write(r / "cat/x.png", gray(np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000, "PNG")),
        read=5,
    ),
    Case(
        "floats from 0 to 1 (TIFF): times 255 and rounded",
        "read",
        "",
        lambda r: write(r / "cat/x.tif", gray(np.linspace(0, 1, 30, dtype=np.float32).reshape(5, 6), "TIFF")),
        read=5,
    ),
    Case(
        "other floats, which do not say what white is",
        "quarantine",
        "expected float values from 0 to 1; got 0 to 255",
        lambda r: write(r / "cat/x.tif", gray(np.linspace(0, 255, 30, dtype=np.float32).reshape(5, 6), "TIFF")),
        read=5,
    ),
    Case(
        "32-bit or signed whole numbers (TIFF)",
        "quarantine",
        "expected at most 16 bits without sign",
        lambda r: write(r / "cat/x.tif", gray(np.arange(30, dtype=np.int32).reshape(5, 6), "TIFF")),
        read=5,
    ),
    Case(
        "gray, palette, CMYK, transparency: as Pillow's convert",
        "read",
        "",
        lambda r: write(r / "cat/x.png", picture(1, mode="P")),
        read=5,
    ),
    Case(
        "several frames (GIF, TIFF, MPO): the first",
        "read",
        "",
        lambda r: write(r / "cat/x.gif", picture(1, "GIF")),
        read=5,
    ),
]
LAYOUT = [
    Case("train and val, of which the split is read", "read", "", _splits("train", "val"), bare=True),
    *(
        Case(
            f"{one} and {two}, of which the split is read",
            "read",
            f"{one} is the split 'train'",
            _splits(one, two),
            bare=True,
        )
        for one, two in (("Train", "Test"), ("training", "testing"), ("TRAIN", "VAL"), ("train.X1", "val.X"))
    ),
    Case(
        "train and test, but another split is asked for",
        "refused",
        "no split 'val'; expected one of test, train",
        _splits("train", "test"),
        split="val",
        bare=True,
    ),
    Case(
        "several folders of one split",
        "refused",
        "several folders of the split 'train'",
        _splits("train.X1", "train.X2"),
        bare=True,
    ),
    Case(
        "a class called train among others, of pictures",
        "read",
        "train is called as a split but holds pictures itself",
        lambda r: tree(r, "train"),
        read=6,
        classes=("cat", "dog", "train"),
    ),
    Case(
        "a class called train among others, of folders",
        "refused",
        "cannot tell whether train are splits or classes",
        lambda r: tree(r, "train/steam", "train/electric"),
    ),
    Case(
        "the same with --layout classes",
        "read",
        "",
        lambda r: tree(r, "train/steam", "train/electric"),
        read=8,
        classes=("cat", "dog", "train"),
        layout="classes",
    ),
    Case(
        "the same with --layout splits",
        "read",
        "",
        lambda r: tree(r, "train/steam", "train/electric"),
        classes=("electric", "steam"),
        layout="splits",
    ),
    Case(
        "train and test that hold pictures and no classes",
        "refused",
        "called as splits but hold no class folders",
        lambda r: tree(r, "train", "test"),
        bare=True,
    ),
    Case(
        "one folder that holds the class folders",
        "read",
        "its only folder, images, holds folders",
        _splits("images"),
        classes=("images",),
        bare=True,
    ),
    Case(
        "folders 0 to 11: in the order of the numbers",
        "read",
        "",
        lambda r: tree(r, *map(str, range(12))),
        read=24,
        classes=tuple(map(str, range(12))),
        bare=True,
    ),
    Case(
        "an archive beside class folders",
        "left out",
        "archive beside folders",
        lambda r: [pack(r / "older.tar", {"cat/9.png": picture(9)}), write(r / "cat/more.zip", b"PK")],
    ),
    Case(
        "ImageNet's root with its archives and devkit",
        "left out",
        "archive beside folders",
        _unpacked_imagenet,
        read=2,
        classes=wnids()[:2],
        bare=True,
    ),
    *(
        Case(
            f"Kaggle's ImageNet, given {below or 'as a whole'}",
            "read",
            "",
            _kaggle,
            read=1,
            classes=wnids(),
            split="val",
            below=below,
            bare=True,
        )
        for below in ("", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC/val")
    ),
    Case(
        "validation pictures of ImageNet without their answers",
        "refused",
        "validation images without their classes",
        lambda r: write(r / "ILSVRC2012_val_00000001.JPEG"),
        bare=True,
    ),
    Case(
        "the same beside class folders",
        "refused",
        "both validation pictures and folders of pictures",
        lambda r: write(r / "ILSVRC2012_val_00000001.JPEG"),
    ),
]
TARS = [
    Case(
        "macOS's ._x.png in a tar",
        "left out",
        "macOS keeps a file's other half in it",
        lambda r: pack(
            r / "a.tar", {f"{c}/{d}0.png": picture(1) if not d else b"\0\5" for c in ("cat", "dog") for d in ("._", "")}
        ),
        read=2,
        bare=True,
    ),
    Case("clip.000.png with clip.000.cls: each its own class", "read", "", _clips, read=2, classes=NAMED, bare=True),
    Case(
        "0001.left.png and 0001.right.png with 0001.cls: WebDataset's key",
        "read",
        "",
        lambda r: pack(r / "a.tar", {"1.left.png": picture(1), "1.right.png": picture(2), "1.cls": b"0"}),
        read=2,
        classes=("0",),
        bare=True,
    ),
    Case(
        "clip.001.png beside the class of clip.000.png only",
        "refused",
        "classes of some images only",
        lambda r: pack(r / "a.tar", {"clip.000.png": picture(1), "clip.000.cls": b"0", "clip.001.png": picture(2)}),
        bare=True,
    ),
    Case(
        "a class number of -1",
        "refused",
        "got '-1' for x.png",
        lambda r: pack(r / "a.tar", {"x.png": picture(1), "x.cls": b"-1"}),
        bare=True,
    ),
    Case(
        "names in Latin-1",
        "read",
        "",
        lambda r: pack(r / "a.tar", {"cat/caf\xe9.png": picture(1), "dog/0.png": picture(2)}, "latin-1"),
        read=2,
        bare=True,
    ),
    Case(
        "an archive of archives",
        "refused",
        "unpack the outer one first",
        lambda r: pack(r / "a.tar", {"n01440764.tar": b"\0" * 10240}),
        bare=True,
    ),
    Case(
        "a compressed or damaged tar",
        "refused",
        "not an uncompressed tar file",
        lambda r: write(r / "a.tar", b"\x1f\x8b no tar" * 100),
        bare=True,
    ),
]

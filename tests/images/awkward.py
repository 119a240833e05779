"""What happens to awkward files: the table of the tests, and the page of the docs made of it.

python -m tests.images.awkward > docs/awkward_files.md
"""

from __future__ import annotations

import errno
import io
import os
import socket
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from salient_imagenet_data.imagenet import wnids
from salient_imagenet_data.images.decoding import PHOTOGRAPHS, extensions
from salient_imagenet_data.images.layout.names import Layout
from salient_imagenet_data.images.trouble import WAITS

Outcome = Literal["read", "left out", "quarantine", "refused"]
SMALL = (6, 5)
"""Width and height of the pictures."""


def picture(seed: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*reversed(SMALL), 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def gray(values: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, data: bytes = picture(0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tree(root: Path, *classes: str) -> None:
    """Two pictures in each of some class folders."""
    for name in classes:
        for i in range(2):
            write(root / name / f"{i}.png", picture(i))


def pack(path: Path, members: dict[str, bytes], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", encoding=encoding, format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@dataclass(frozen=True)
class Case:
    """make: fills a folder in which, unless `bare`, class folders cat and dog hold two pictures each.

    said: what a person reads of it. read: the images' number. below: what of the folder is given as images.
    plain: only a user without root's rights meets it.
    """

    what: str
    outcome: Outcome
    said: str
    make: Callable[[Path], object]
    read: int = 4
    classes: tuple[str, ...] = ("cat", "dog")
    below: str = ""
    split: str = "train"
    layout: Layout | None = None
    bare: bool = False
    plain: bool = False


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
SECTIONS = {"Files and folders": FILES, "Pictures": PICTURES, "Layouts": LAYOUT, "Tars": TARS}
TOLD: dict[Outcome, str] = {
    "read": "read",
    "left out": "left out, told",
    "quarantine": "quarantine",
    "refused": "refused in one line",
}


def page() -> str:
    """docs/awkward_files.md"""
    trouble = ", ".join(
        errno.errorcode[n] for n in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM, errno.ETIMEDOUT)
    )
    lines = [
        "# What happens to awkward files",
        "",
        "This page is made of the table that the tests run through: `python -m tests.images.awkward > docs/awkward_files.md`.",
        "",
        "Every command that reads images says in one line on stderr how many files it passed over and why; `--verbose` lists",
        "them. `build` also writes them into the store's `quarantine.parquet`, with no label and a reason that begins with",
        "`passed over`. A picture that cannot be decoded is there with its label; it stops no build, whatever its decoder",
        "raised, and no reason holds a path of the machine. Where a folder's names leave a doubt, one line says what it was",
        "taken for; where they could mean two things, it is refused, and `--layout` (`layout=` in Python) settles it: `classes`,",
        "`splits`, `kaggle`, `validation` or `tar`.",
        "",
        f"Trouble of the system ({trouble} and their like) is no verdict on a picture: the read is tried again after",
        f"{', '.join(f'{wait:g}' for wait in WAITS)} seconds, then the run stops with one line that names the file. A file that is",
        "gone or may not be read goes to quarantine while its folder can be read; when the whole folder cannot, the run stops.",
        "",
        f"Formats, where Pillow has them: {', '.join(PHOTOGRAPHS)}. A picture longer than 64 times its shorter side is cropped before it is resized, which",
        "may round some pixels otherwise by one level; all others are cropped bit for bit as by torchvision's transforms.",
        "",
    ]
    for title, cases in SECTIONS.items():
        lines += [f"## {title}", "", "| what | outcome | what is said |", "| --- | --- | --- |"]
        lines += [f"| {case.what} | {TOLD[case.outcome]} | {case.said} |" for case in cases]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


if __name__ == "__main__":
    print(page(), end="")

"""What happens to awkward files: the table of the tests, and the page of the docs made of it.

python -m tests.images.awkward > docs/awkward_files.md
"""

from __future__ import annotations

import errno

from salient_imagenet_data.images.decoding import PHOTOGRAPHS
from salient_imagenet_data.images.trouble import WAITS
from tests.images.awkward_cases import FILES, LAYOUT, PICTURES, TARS
from tests.images.awkward_making import Outcome

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
        "`splits`, `kaggle`, `validation` or `tar`. Without `--images` both are refused.",
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

"""Published robust networks by name: where each is, what it is, and whose answers are about it.

`engstrom2019:imagenet_l2_3_0` is the network of the 2022 study, of the spuriosity rankings and of Spurious ImageNet;
the official answers number its neurons and nobody else's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.checkpoint import fetch
from salient_imagenet_data.networks.openers.records import NETWORKS, Published
from salient_imagenet_data.places import assets
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.whole_file import write_text


def published(name: str) -> Published | None:
    """The record of a name, or None for what is none (a file, an address). Raises SalientError for SOURCE:FILE of a
    source that is known and a file that is not."""
    if name in NETWORKS:
        return NETWORKS[name]
    source = name.partition(":")[0]
    if source not in {known.partition(":")[0] for known in NETWORKS}:
        return None
    files = [known for known in NETWORKS if known.startswith(f"{source}:")]
    raise SalientError(f"{name}: no such published network", expected=f"one of {', '.join(files)}")


def called_as(file: str) -> Published | None:
    """The published network that a file is called after: as its address calls it, as this package keeps it, or as
    RobustBench does (`Salman2020Do_R50.pt`). None for any other name."""
    for network in NETWORKS.values():
        names = {network.file, network.name.partition(":")[2] + ".pt"}
        if network.page is None:  # an address that ends in the file's name
            names.add(network.url.partition("?")[0].rpartition("/")[2])
        if file in names:
            return network
    return None


def check_answers(weights: str) -> None:
    """Raises SalientError for the name of a published network that the official answers are not about."""
    network = published(weights)
    if network is not None and not network.answers:
        raise SalientError(
            f"{weights}: the official answers are about the neurons of another network",
            expected=" or ".join(n.name for n in NETWORKS.values() if n.answers),
            then="give --weights of that one, leave --annotations out, or --trust-annotations to go on all the same",
        )


def download(network: Published) -> tuple[Path, str]:
    """The file of a published network, from a cache or downloaded once, and its sha256.

    A hash that is not pinned is kept from the first download on, which is told; any other file is refused from then on.
    Raises SalientError if it cannot be had, or is another.
    """
    import pooch

    cache = assets("networks")
    if network.url.startswith("hf://"):
        path = fetch(network.url)
    else:
        try:
            pooch.get_logger().setLevel("WARNING")  # it would advise what is done below
            path = Path(
                pooch.retrieve(network.url, known_hash=None, fname=network.file, path=cache, downloader=_download)
            )
        except (OSError, ValueError) as error:
            page = network.page or network.url
            raise SalientError(
                f"{network.name}: cannot be downloaded from {network.url}",
                got=f"{type(error).__name__}: {error}"[:200],
                then=f"download it yourself, from {page} in a browser, and put it there as {cache / network.file}; or "
                f"give the file with --architecture {network.architecture}",
            ) from error
    return path, _checked(network, path, cache / f"{network.name.replace(':', '-')}.sha256")


def _download(url: str, output_file: Any, fetcher: Any) -> None:
    """Google Drive, and others who want to be asked first, answer with a page instead of a large file: what begins as
    one is not kept."""
    import pooch

    pooch.HTTPDownloader(progressbar=sys.stderr.isatty())(url, output_file, fetcher)
    with Path(output_file).open("rb") as file:
        begin = file.read(64).lstrip().lower()
    if begin.startswith((b"<!doctype", b"<html")):
        raise ValueError("a page of HTML, and not the file")


def _checked(network: Published, path: Path, note: Path) -> str:
    """The file's sha256. Raises SalientError for another than the one that is known."""
    got = file_sha256(path)
    known = network.sha256 or (note.read_text().strip() if note.is_file() else None)
    if known is None:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, got + "\n")
        print(f"{network.name}: sha256 {got}, not pinned; trusted at this first use", file=sys.stderr)
    elif got != known:
        raise SalientError(
            f"{path}: not the file of {network.name} that was used before",
            expected=f"sha256 {known}",
            got=got,
            then=f"remove it to download again, and {note} if the new file is to be trusted",
        )
    return got

"""Published robust networks by name: where each is, what it is, and whose answers are about it.

`engstrom2019:imagenet_l2_3_0` is the network of the 2022 study, of the spuriosity rankings and of Spurious ImageNet;
the official answers number its neurons and nobody else's. Accuracies are as published, on ImageNet's validation set;
none was measured here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.checkpoint import fetch
from salient_imagenet_data.places import assets
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.whole_file import write_text


@dataclass(frozen=True)
class Published:
    """name: SOURCE:FILE. url: hf://owner/name/file, or https://. norm, epsilon: of the perturbations it was trained
    under (0: trained plainly), l2 on images in [0, 1], linf in 255ths. accuracy: clean, in percent. sha256: the file's,
    where it is known; else the first download is trusted, and said to be. answers: whether the official answers are
    about it.
    """

    name: str
    url: str
    architecture: str
    norm: str
    epsilon: float
    accuracy: float
    sha256: str | None = None
    answers: bool = False


_ENGSTROM = "https://www.dropbox.com/s"
_SALMAN = "hf://madrylab/robust-imagenet-models"


def _salman(architecture: str, norm: str, accuracies: dict[str, float]) -> list[Published]:
    """By epsilon as the files spell it."""
    files = {epsilon: f"{architecture}_{norm}_eps{epsilon}" for epsilon in accuracies}
    return [
        Published(f"salman2020:{files[e]}", f"{_SALMAN}/{files[e]}.ckpt", architecture, norm, float(e), accuracy)
        for e, accuracy in accuracies.items()
    ]


def _engstrom(file: str, share: str, norm: str, epsilon: float, accuracy: float, answers: bool) -> Published:
    url = f"{_ENGSTROM}/{share}/{file}.pt?dl=1"
    return Published(f"engstrom2019:{file}", url, "resnet50", norm, epsilon, accuracy, answers=answers)


# Tables of github.com/MadryLab/robustness [Engstrom et al. 2019] and of the Hub's page of the networks of Salman et al.
# 2020 (arXiv 2007.08489), read on 2026-11-26.
NETWORKS: dict[str, Published] = {
    network.name: network
    for network in (
        _engstrom("imagenet_l2_3_0", "knf4uimlqsi1yz8", "l2", 3.0, 57.90, True),
        _engstrom("imagenet_linf_4", "axfuary2w1cnyrg", "linf", 4.0, 62.42, False),
        _engstrom("imagenet_linf_8", "yxn15a9zklz3s8q", "linf", 8.0, 47.91, False),
        *_salman("resnet18", "l2", {"0": 69.79, "0.5": 65.49, "1": 62.32, "3": 53.12, "5": 45.59}),
        *_salman("resnet50", "l2", {"0": 75.80, "0.5": 73.16, "1": 70.43, "3": 62.83, "5": 56.13}),
        *_salman("wide_resnet50_2", "l2", {"0": 76.97, "0.5": 75.11, "1": 73.41, "3": 66.90, "5": 60.94}),
        *_salman("resnet18", "linf", {"0.5": 66.13, "1.0": 63.46, "2.0": 59.63, "4.0": 52.49, "8.0": 42.11}),
        *_salman("resnet50", "linf", {"0.5": 73.73, "1.0": 72.05, "2.0": 69.10, "4.0": 63.86, "8.0": 54.53}),
        *_salman("wide_resnet50_2", "linf", {"0.5": 75.82, "1.0": 74.65, "2.0": 72.35, "4.0": 68.41, "8.0": 60.82}),
    )
}


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


def architecture_of(file: str) -> str | None:
    """Of a file that is called as a published network's, where it does not say itself; None for any other name."""
    return next((n.architecture for n in NETWORKS.values() if n.url.partition("?")[0].endswith(f"/{file}")), None)


def check_answers(weights: str) -> None:
    """Raises SalientError for the name of a published network that the official answers are not about."""
    network = published(weights)
    if network is not None and not network.answers:
        raise SalientError(
            f"{weights}: the official answers are about the neurons of another network",
            expected=" or ".join(n.name for n in NETWORKS.values() if n.answers),
            then="give --weights of that one, leave --annotations out, or --trust-annotations to go on all the same",
        )


def download(network: Published) -> Path:
    """The file of a published network, from a cache or downloaded once.

    A hash that is not pinned is kept from the first download on, which is told; any other file is refused from then on.
    Raises SalientError if it cannot be had, or is another.
    """
    import pooch

    cache = assets("networks")
    if network.url.startswith("hf://"):
        path = fetch(network.url)
    else:
        try:
            # Under a name of its own, since what the address calls it may be the same for several.
            file = network.name.replace(":", "-") + Path(network.url.partition("?")[0]).suffix
            pooch.get_logger().setLevel("WARNING")  # it would advise what is done below
            fetcher = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
            path = Path(pooch.retrieve(network.url, known_hash=None, fname=file, path=cache, downloader=fetcher))
        except (OSError, ValueError) as error:
            raise SalientError(
                f"{network.name}: cannot be downloaded from {network.url}",
                got=f"{type(error).__name__}: {error}"[:200],
                then=f"download it yourself and give the file with --architecture {network.architecture}",
            ) from error
    _check(network, path, cache / f"{network.name.replace(':', '-')}.sha256")
    return path


def _check(network: Published, path: Path, note: Path) -> None:
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

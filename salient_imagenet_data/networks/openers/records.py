"""The records of published robust networks, read by `published.py`. Accuracies are as published, on ImageNet's
validation set; none was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.normalisers import Normaliser


@dataclass(frozen=True)
class Published:
    """name: SOURCE:FILE. url: hf://owner/name/file, or https://. norm, epsilon: of the perturbations it was trained
    under (0: trained plainly), l2 on images in [0, 1], linf in 255ths; `corruptions`: trained to stand common
    corruptions, and no adversary. accuracy: clean, in percent. robust: after its publisher's attack with that norm and
    epsilon, or over ImageNet-C, in percent, where that is told. sha256: the file's, where it is known; else the first
    download is trusted, and said to be. answers: whether the official answers are about it. preprocessing: the crop it
    was published with, where it is not the library's. normaliser: likewise, for a file that holds none. page: where a
    person finds the file with a browser, where that is another address.
    """

    name: str
    url: str
    architecture: str
    norm: str
    epsilon: float
    accuracy: float
    robust: float | None = None
    sha256: str | None = None
    answers: bool = False
    preprocessing: Preprocessing | None = None
    normaliser: Normaliser | None = None
    page: str | None = None

    @property
    def file(self) -> str:
        """What the file is called here, since what the address calls it may be the same for several."""
        end = PurePosixPath(self.url.partition("?")[0]).suffix
        return self.name.replace(":", "-") + (end or ".pt")

    @property
    def trained_under(self) -> str:
        """Norm and epsilon in words."""
        return self.norm if self.norm == CORRUPTIONS else f"{self.norm} {self.epsilon:g}"


CORRUPTIONS = "corruptions"
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


# RobustBench's table of ImageNet, and its files, crops and normalisers: github.com/RobustBench/robustbench at commit
# 430c836037b8 (README.md, robustbench/model_zoo/imagenet.py, utils.py, data.py), read on 2026-11-26. Accuracies there
# are of 5,000 fixed images of the validation set; robust: AutoAttack at 4/255, or ImageNet-C.
_IMAGENETS = Normaliser((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "RobustBench's model zoo")
_NONE = Normaliser((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "RobustBench's model zoo: none")
_BICUBIC = Preprocessing(256, 224, "bicubic")
_SWIN_B, _SWIN_L = "timm:swin_base_patch4_window7_224", "timm:swin_large_patch4_window7_224"
_RELEASES = "https://github.com/RobustBench/robustbench/releases/download"


def _zoo(
    name: str,
    drive: str,
    architecture: str,
    accuracy: float,
    robust: float,
    *,
    norm: str = "linf",
    preprocessing: Preprocessing | None = None,
    normaliser: Normaliser = _IMAGENETS,
) -> Published:
    """drive: the file's id on Google Drive."""
    return Published(
        f"robustbench:{name}",
        f"https://drive.usercontent.google.com/download?id={drive}&export=download&confirm=t",
        architecture,
        norm,
        4.0 if norm == "linf" else 0.0,
        accuracy,
        robust,
        preprocessing=preprocessing,
        normaliser=normaliser,
        page=f"https://drive.google.com/file/d/{drive}/view",
    )


def _released(name: str, file: str, architecture: str, norm: str, accuracy: float, robust: float) -> Published:
    """Of the project's releases on GitHub, with the crops of timm's config."""
    normaliser = _NONE if norm == "linf" else _IMAGENETS  # its authors trained XCiT on images as they are (issue 105)
    epsilon = 4.0 if norm == "linf" else 0.0
    url = f"{_RELEASES}/{file}"
    return Published(f"robustbench:{name}", url, architecture, norm, epsilon, accuracy, robust, normaliser=normaliser)


_ROBUSTBENCH = (
    # Its own crop is the central 288 pixels of the picture as it is, whatever its size; this is the nearest that is
    # defined for all: the last phase of its training saw crops of 288 of pictures of 352.
    _zoo(
        "Wong2020Fast",
        "1deM2ZNS5tf3S_-eRURJi-IlvUL8WJQ_w",
        "resnet50",
        55.62,
        26.24,
        preprocessing=Preprocessing(352, 288),
    ),
    _zoo("Engstrom2019Robustness", "1T2Fvi1eCJTeAOEzrH_4TAIwO8HTOYVyn", "resnet50", 62.56, 29.22),
    _zoo("Salman2020Do_R18", "1OThCOQCOxY6lAgxZxgiK3YuZDD7PPfPx", "resnet18", 52.92, 25.32),
    _zoo("Salman2020Do_R50", "1TmT5oGa1UvVjM3d-XeSj_XmKqBNRUg8r", "resnet50", 64.02, 34.96),
    _zoo("Salman2020Do_50_2", "1OT7xaQYljrTr3vGbM37xK9SPoPJvbSKB", "wide_resnet50_2", 68.46, 38.14),
    _zoo(
        "Chen2024Data_WRN_50_2",
        "1-PBlZVILAKFQ7mF8srKjdkTKJZAr61Uf",
        "wide_resnet50_2",
        68.76,
        40.60,
        normaliser=_NONE,
    ),
    *(
        _released(
            f"Debenedetti2022Light_XCiT-{size}12",
            f"v1.1/debenedetti2022light-xcit-{size.lower()}-imagenet-linf.pth.tar",
            architecture,
            "linf",
            accuracy,
            robust,
        )
        for size, architecture, accuracy, robust in (
            ("S", "timm:xcit_small_12_p16_224", 72.34, 41.78),
            ("M", "timm:xcit_medium_24_p16_224,depth=12", 74.04, 45.24),
            ("L", "timm:xcit_large_24_p16_224,depth=12", 73.76, 47.60),
        )
    ),
    # The picture's shorter side becomes 224; of what is longer the middle is taken, as a network of squares must.
    *(
        _zoo(f"Mo2022When_{name}", drive, architecture, accuracy, robust, preprocessing=Preprocessing(224, 224))
        for name, drive, architecture, accuracy, robust in (
            ("ViT-B", "1-dUFdvDBflqMsMLjZv3wlPJTm-Jm7net", "timm:vit_base_patch16_224", 68.38, 34.40),
            ("Swin-B", "1-SXi4Z2X6Zo_j8EO4slJcBMXNej8fKUd", _SWIN_B, 74.66, 38.30),
        )
    ),
    *(
        _zoo(name, drive, architecture, accuracy, robust, preprocessing=_BICUBIC)
        for name, drive, architecture, accuracy, robust in (
            (
                "Liu2023Comprehensive_ConvNeXt-B",
                "10-nSm-qUftvfKXHeOAakBQl8rxm-jCbk",
                "timm:convnext_base",
                76.02,
                55.82,
            ),
            (
                "Liu2023Comprehensive_ConvNeXt-L",
                "1dIPLNfdQtAnqZrKPyuy3_zDI-FVgJ2FH",
                "timm:convnext_large",
                78.02,
                58.48,
            ),
            ("Liu2023Comprehensive_Swin-B", "1-4mtxQCkThJUVdS3wvQ6NnmMZuySqR3c", _SWIN_B, 76.16, 56.16),
            ("Liu2023Comprehensive_Swin-L", "1-57sQfcrsDsslfDR18nRD7FnpQmsSBk7", _SWIN_L, 78.92, 59.56),
            ("RodriguezMunoz2024Characterizing_Swin-B", "1-BSUjoFXx3PP-TfeE5fjbofO2lLyUf56", _SWIN_B, 77.76, 51.56),
            ("RodriguezMunoz2024Characterizing_Swin-L", "1-Dc9WhPU2wv4OMskLo1U57n5O8VbpNXv", _SWIN_L, 79.36, 53.82),
        )
    ),
    *(
        _zoo(name, drive, "resnet50", accuracy, robust, norm=CORRUPTIONS)
        for name, drive, accuracy, robust in (
            ("Geirhos2018_SIN", "1hLgeY_rQIaOT4R-t_KyOqPNkczfaedgs", 60.08, 39.92),
            ("Geirhos2018_SIN_IN", "139pWopDnNERObZeLsXUysRcLg6N1iZHK", 74.98, 45.76),
            ("Geirhos2018_SIN_IN_IN", "1xOvyuxpOZ8I5CZOi0EGYG_R6tu3ZaJdO", 77.56, 42.00),
            ("Hendrycks2020AugMix", "1xRMj1GlO93tLoCMm0e5wEvZwqhIjxhoJ", 77.34, 49.33),
            ("Hendrycks2020Many", "1kylueoLtYtxkpVzoOA1B6tqdbRl2xt9X", 76.86, 52.90),
            ("Erichson2022NoisyMix", "1wFsiB5h4Fgv6HqOkI_1jR1SZOB_eNK9r", 76.98, 52.47),
            ("Erichson2022NoisyMix_new", "1Na79fzPZ0Azg01h6kGn1Xu5NoWOElSuG", 76.90, 53.28),
        )
    ),
    *(
        _released(
            f"Tian2022Deeper_DeiT-{size}",
            f"v1.2/tian2022deeper-deit-{size.lower()}.pth",
            architecture,
            CORRUPTIONS,
            accuracy,
            robust,
        )
        for size, architecture, accuracy, robust in (
            ("S", "timm:deit_small_patch16_224", 79.76, 62.91),
            ("B", "timm:deit_base_patch16_224", 81.38, 67.55),
        )
    ),
)

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
        *_ROBUSTBENCH,
    )
}

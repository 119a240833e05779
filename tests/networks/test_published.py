"""Published networks: what is said of them, the first download that is trusted, and the later one that is not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner

from salient_imagenet_data.cli import cli
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.networks.openers.published import called_as, download, published
from salient_imagenet_data.networks.openers.records import NETWORKS, Published
from salient_imagenet_data.networks.opening import open_network
from tests.checkpoints import robustness_checkpoint


@pytest.fixture
def network(served: tuple[str, Path], own_cache: None) -> Published:
    """One whose file is served here, with a cache of its own."""
    (served[1] / "net.pt").write_bytes(b"first")
    return Published("us2026:net", f"{served[0]}/net.pt?dl=1", "resnet18", "l2", 3.0, 50.0)


def test_the_answers_are_about_one_network_only() -> None:
    assert [n.name for n in NETWORKS.values() if n.answers] == ["engstrom2019:imagenet_l2_3_0"]
    theirs, other = NETWORKS["engstrom2019:imagenet_l2_3_0"], NETWORKS["salman2020:resnet50_l2_eps3"]
    assert (theirs.accuracy, other.accuracy) == (
        57.90,
        62.83,
    ) and theirs.architecture == other.architecture == "resnet50"
    assert other.url == "hf://madrylab/robust-imagenet-models/resnet50_l2_eps3.ckpt"


def test_names_that_are_none() -> None:
    assert published("weights.safetensors") is None and published("hf://a/b/c.pt") is None
    with pytest.raises(
        SalientError, match=r"salman2020:vgg: no such published network; expected one of salman2020:resnet18"
    ):
        published("salman2020:vgg")


def test_the_first_file_is_trusted_and_told_and_no_other_after_it(
    network: Published, served: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = download(network)
    digest = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"  # of b"first"
    assert path.read_bytes() == b"first" and made == digest
    assert capsys.readouterr().err == f"us2026:net: sha256 {digest}, not pinned; trusted at this first use\n"
    assert download(network) == (path, digest) and capsys.readouterr().err == ""
    path.unlink()
    (served[1] / "net.pt").write_bytes(b"other")
    with pytest.raises(
        SalientError, match=f"not the file of us2026:net that was used before; expected sha256 {digest}"
    ):
        download(network)


def test_a_pinned_hash_decides(network: Published) -> None:
    with pytest.raises(SalientError, match="expected sha256 1234"):
        download(replace(network, sha256="1234"))


def test_what_cannot_be_had_is_one_line(network: Published) -> None:
    gone = replace(network, url=network.url.replace("net.pt", "absent.pt"))
    with pytest.raises(SalientError, match=r"us2026:net: cannot be downloaded from .*; download it yourself"):
        download(gone)


def test_a_name_says_its_architecture_and_refuses_another(
    network: Published, served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    torch.save(robustness_checkpoint(net), served[1] / "net.pt")
    monkeypatch.setitem(NETWORKS, network.name, network)
    with pytest.raises(SalientError, match="us2026:net: another architecture; expected torchvision:resnet18; got timm"):
        open_network("timm:resnet18", None, network.name)
    with monkeypatch.context() as once:  # it was hashed when it was fetched, and is not again
        once.delattr("salient_imagenet_data.networks.checkpoint.file_sha256")
        opened = open_network(None, None, network.name)
    assert opened.details["weights_sha256"] == hashlib.sha256((served[1] / "net.pt").read_bytes()).hexdigest()
    assert opened.details["spec"] == "torchvision:resnet18"
    assert opened.details["normalisation"]["mean"] == pytest.approx([0.5, 0.4, 0.3])
    x = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]))
    with torch.inference_mode():
        assert torch.allclose(opened.model(x), net((x - mean) / std), atol=1e-5)


def test_a_file_called_as_a_published_one_is_known() -> None:
    known = {
        "wide_resnet50_2_l2_eps3.ckpt": "salman2020:wide_resnet50_2_l2_eps3",
        "imagenet_l2_3_0.pt": "engstrom2019:imagenet_l2_3_0",
        "Salman2020Do_R50.pt": "robustbench:Salman2020Do_R50",
        "robustbench-Chen2024Data_WRN_50_2.pt": "robustbench:Chen2024Data_WRN_50_2",
        "debenedetti2022light-xcit-s-imagenet-linf.pth.tar": "robustbench:Debenedetti2022Light_XCiT-S12",
    }
    for file, name in known.items():
        network = called_as(file)
        assert network is not None and network.name == name
    assert all(called_as(name) is None for name in ("l2_eps3.ckpt", "net.pt", "download", ""))
    for network in NETWORKS.values():  # and as it is kept, each its own
        assert called_as(network.file) is network


def test_official_answers_with_a_network_they_are_not_about_are_refused_at_once(tmp_path: Path) -> None:
    given = ["build", "--images", str(tmp_path), "--out", str(tmp_path / "s"), "--annotations", "official"]
    result = CliRunner().invoke(cli, [*given, "--weights", "salman2020:resnet50_l2_eps3"])
    assert result.exit_code != 0
    said = "about the neurons of another network; expected engstrom2019:imagenet_l2_3_0"
    assert isinstance(result.exception, SalientError) and said in str(result.exception)


def test_the_table_of_the_docs_is_the_registry() -> None:
    text = (Path(__file__).parents[2] / "docs" / "building.md").read_text()
    sources = tuple(f"| `{name.partition(':')[0]}:" for name in NETWORKS)
    rows = [line for line in text.splitlines() if line.startswith(sources)]
    assert len(rows) == 59 and rows == [
        f"| `{n.name}` | {n.architecture} | {n.trained_under} | {n.accuracy:.2f} | "
        f"{'' if n.robust is None else format(n.robust, '.2f')} | {'yes' if n.answers else 'no'} |"
        for n in NETWORKS.values()
    ]

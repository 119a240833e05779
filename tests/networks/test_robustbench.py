"""RobustBench's networks: files in the layouts that are there, with random weights, crops and normalisers as recorded."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.networks.checkpoint import Checkpoint
from salient_imagenet_data.networks.normalisers import Normaliser
from salient_imagenet_data.networks.openers import timm as timm_opener
from salient_imagenet_data.networks.openers.published import download
from salient_imagenet_data.networks.openers.records import NETWORKS, Published
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.places import assets

pytestmark = pytest.mark.usefixtures("own_cache")
timm = pytest.importorskip("timm", reason="in the extra timm")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
THEIRS = [n for n in NETWORKS.values() if n.name.startswith("robustbench:")]


def record(architecture: str, **fields: object) -> Published:
    return replace(
        Published("us2026:Tiny_R18", "https://127.0.0.1:9/x", architecture, "linf", 4.0, 50.0, 20.0),
        page="https://drive.example/file/d/x/view",
        **fields,
    )


def put(network: Published, content: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file where the registry keeps it, as somebody puts it there who downloaded it with a browser."""
    monkeypatch.setitem(NETWORKS, network.name, network)
    path = assets("networks") / network.file
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def test_all_of_them_are_of_a_library_and_keep_their_files_apart() -> None:
    assert len(THEIRS) == 26 and len({n.file for n in NETWORKS.values()}) == len(NETWORKS)
    for network in THEIRS:
        library, _, name = network.architecture.partition(",")[0].rpartition(":")
        known = timm.is_model(name) if library == "timm" else name in torchvision.models.list_models()
        assert known and network.robust is not None and not network.answers
        assert network.normaliser is not None and network.url.startswith("https://")


def test_crops_and_normalisers_are_those_of_its_model_zoo() -> None:
    """Names of its table of preprocessings, in our words; where it uses the network's own config there is none."""
    crops = {n.name.partition(":")[2]: n.preprocessing for n in THEIRS}
    assert {name for name, crop in crops.items() if crop == Preprocessing(256, 224, "bicubic")} == {
        *(f"Liu2023Comprehensive_{n}" for n in ("ConvNeXt-B", "ConvNeXt-L", "Swin-B", "Swin-L")),
        *(f"RodriguezMunoz2024Characterizing_{n}" for n in ("Swin-B", "Swin-L")),
    }
    assert crops["Mo2022When_ViT-B"] == crops["Mo2022When_Swin-B"] == Preprocessing(224, 224)
    assert crops["Wong2020Fast"] == Preprocessing(352, 288) and crops["Salman2020Do_R50"] is None
    bare = {n.name.partition(":")[2] for n in THEIRS if n.normaliser is not None and n.normaliser.mean == (0, 0, 0)}
    assert bare == {"Chen2024Data_WRN_50_2", *(f"Debenedetti2022Light_XCiT-{size}12" for size in "SML")}


@pytest.mark.parametrize(
    ("prefix", "wrapped"), [("module.model.", True), ("model.", False), ("module.", True), ("", False)]
)
def test_a_file_with_its_normaliser_is_read_whatever_stands_before_the_names(
    prefix: str, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`normalize.mean` and `model.`, as nn.Sequential(normalize, model) writes them, in one device's or several'."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    state = {f"{prefix}{key}": value for key, value in net.state_dict().items()}
    own = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    outer = prefix.removesuffix("model.")
    state |= {f"{outer}normalize.mean": own[0].view(1, 3, 1, 1), f"{outer}normalize.std": own[1].view(1, 3, 1, 1)}
    network = record("resnet18", normaliser=Normaliser((0.1,) * 3, (0.9,) * 3, "a record"))
    put(network, {"state_dict": state, "epoch": 9} if wrapped else state, monkeypatch)
    opened = open_network(None, None, network.name)
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(opened.model(x), net((x - own[0][:, None, None]) / own[1][:, None, None]), atol=1e-5)
    assert opened.details["normalisation"]["from"] == f"{outer}normalize.mean and {outer}normalize.std of the weights"


def test_a_file_without_one_is_normalised_as_the_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ViT of RobustBench wants ImageNet's mean, where timm's config of that name says 0.5."""
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", num_classes=5).eval()
    zoo = NETWORKS["robustbench:Mo2022When_ViT-B"]
    network = record("timm:vit_tiny_patch16_224", normaliser=zoo.normaliser, preprocessing=zoo.preprocessing)
    put(network, {"state_dict": net.state_dict(), "opt": {"lr": 0.1}}, monkeypatch)
    opened = open_network(None, None, network.name)
    x = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(opened.model(x), net((x - MEAN[:, None, None]) / STD[:, None, None]), atol=1e-5)
    assert opened.details["normalisation"]["from"] == "RobustBench's model zoo"
    assert opened.preprocessing == Preprocessing(224, 224)


def test_images_go_as_they_are_to_a_network_that_was_trained_so(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = timm.create_model("xcit_nano_12_p16_224", num_classes=5, depth=3).eval()
    medium = NETWORKS["robustbench:Debenedetti2022Light_XCiT-M12"]
    assert medium.architecture == "timm:xcit_medium_24_p16_224,depth=12"
    network = record("timm:xcit_nano_12_p16_224,depth=3", normaliser=medium.normaliser)
    put(network, net.state_dict(), monkeypatch)
    opened = open_network(None, None, network.name)
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(opened.model(x), net(x), atol=1e-5)
    assert opened.preprocessing == Preprocessing(224, 224, "bicubic")  # of timm's config
    assert opened.details["spec"] == "timm:xcit_nano_12_p16_224,depth=3"
    path = assets("networks") / network.file
    for options, said in (
        ("depth=3.5", "such options are not understood"),
        ("depth", "such options are not understood"),
        ("depth=3,depth=3", "such options are not understood"),
        ("depth=4", "weights do not fit timm:xcit_nano_12_p16_224,depth=4"),
        ("deepness=4", "cannot be made with {'deepness': 4}"),
    ):
        with pytest.raises(SalientError, match=re.escape(said)):
            open_network(f"timm:xcit_nano_12_p16_224,{options}", None, path)
    with pytest.raises(SalientError, match="expected .* and weights of the network that it makes"):
        open_network("timm:xcit_nano_12_p16_224,depth=3")


def test_nothing_is_downloaded_for_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SalientError, match="timm is not installed"):
        open_network(None, None, "robustbench:Liu2023Comprehensive_Swin-L")


def old_swin(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Tensors of a Swin transformer as timm 0.4 to 0.6 and its authors named them, with their buffers."""
    old = {}
    for key, value in state.items():
        parts = key.split(".")
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) - 1)
        old[prefix + ".".join(parts).replace("head.fc.", "head.")] = value
    old[f"{prefix}layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    old[f"{prefix}layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    return old


def test_an_older_swin_is_read_as_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models.swin_transformer import checkpoint_filter_fn

    torch.manual_seed(0)
    name = "swin_tiny_patch4_window7_224"
    net = timm.create_model(name, num_classes=5).eval()
    state, old = net.state_dict(), old_swin(net.state_dict(), "")
    assert "layers.0.downsample.norm.weight" in old and "head.weight" in old
    theirs = checkpoint_filter_fn(dict(old), net)
    for before, prefix in ((old, ""), (old_swin(state, "module.model."), "module.model.")):
        ours = timm_opener._of_today(name, Checkpoint(Path("x"), "", before, None)).tensors
        assert {key.removeprefix(prefix) for key in ours} == set(theirs) == set(state)
        assert all(torch.equal(ours[prefix + key], theirs[key]) for key in theirs)
    assert timm_opener._of_today(name, Checkpoint(Path("x"), "", state, None)).tensors == state
    network = record(f"timm:{name}", normaliser=NETWORKS["robustbench:Mo2022When_Swin-B"].normaliser)
    put(network, {"state_dict": old_swin(state, "module.")}, monkeypatch)
    opened = open_network(None, None, network.name)
    x = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(opened.model(x), net((x - MEAN[:, None, None]) / STD[:, None, None]), atol=1e-4)


def test_a_page_instead_of_the_file_is_told_and_not_kept(
    served: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Google Drive shows one before it gives a large file: what a person fetches with a browser is then taken."""
    page = b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>"
    (served[1] / "download").write_bytes(page)
    network = replace(record("resnet18"), url=f"{served[0]}/download?id=x&confirm=t")
    place = assets("networks") / "us2026-Tiny_R18.pt"
    with pytest.raises(SalientError) as error:
        download(network)
    said = str(error.value)
    assert said.startswith("us2026:Tiny_R18: cannot be downloaded from http://127.0.0.1")
    assert "got ValueError: a page of HTML, and not the file; download it yourself, from https://drive.example" in said
    assert f"put it there as {place}; or give the file with --architecture resnet18" in said
    assert not place.exists() and not list(place.parent.glob("*.sha256"))
    net = torchvision.models.resnet18(num_classes=5).eval()
    assert put(network, net.state_dict(), monkeypatch) == place
    assert open_network(None, None, network.name).details["spec"] == "torchvision:resnet18"


def test_a_file_of_ones_own_that_is_called_as_theirs_gets_what_is_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RobustBench keeps models/imagenet/Linf/NAME.pt; such a file says its architecture, crop and normaliser."""
    known = Normaliser((0.1,) * 3, (0.9,) * 3, "a record")
    network = record("resnet18", normaliser=known, preprocessing=Preprocessing(352, 288))
    monkeypatch.setitem(NETWORKS, network.name, network)
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), tmp_path / "Tiny_R18.pt")
    for spec in (None, "torchvision:resnet18"):
        opened = open_network(spec, None, tmp_path / "Tiny_R18.pt")
        assert opened.details["normalisation"]["mean"] == [0.1] * 3
        assert opened.preprocessing == Preprocessing(352, 288)
    other = (tmp_path / "Tiny_R18.pt").rename(tmp_path / "other.pt")
    opened = open_network("torchvision:resnet18", None, other)
    assert opened.details["normalisation"]["mean"] == pytest.approx(MEAN.tolist())
    assert opened.preprocessing == Preprocessing(256, 224)

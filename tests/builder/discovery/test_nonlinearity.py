"""As what an autoencoder is read: what its file says, what lies beside it, what the user says, and what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from salient_imagenet_data.builder.discovery.nonlinearity import NOBODY
from salient_imagenet_data.builder.discovery.sparse import read_sparse
from salient_imagenet_data.errors import SalientError
from tests.builder.discovery.test_sparse import LATENTS, NEURONS, tensors
from tests.networks.wordy import into_cache

OTHER = "an autoencoder of another kind; expected a rectifier between encoder and decoder; got "


def written(folder: Path, metadata: dict[str, str], config: object, name: str = "cfg.json") -> str:
    """An autoencoder in SAELens's layout, with something beside it."""
    folder.mkdir(exist_ok=True)
    save_file(tensors(), folder / "s.safetensors", metadata)
    if config is not None:
        (folder / name).write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder / "s.safetensors")


@pytest.mark.parametrize(
    ("metadata", "config", "got"),
    [
        ({"activation": "TopK"}, None, "activation TopK in s.safetensors"),
        ({"k": "32"}, None, "k 32 in s.safetensors"),
        ({"cfg": '{"architecture": "topk"}'}, None, "architecture topk in s.safetensors"),
        ({}, {"activation_fn_kwargs": {"k": 64}}, "k 64 in cfg.json"),
        ({}, {"sae": [{"activation_fn_str": "batch_top-k"}]}, "activation_fn_str batch_top-k in cfg.json"),
        ({}, {"architecture": "jumprelu"}, "architecture jumprelu in cfg.json"),
        ({}, {"dict_class": "GatedAutoEncoder"}, "dict_class GatedAutoEncoder in cfg.json"),
        ({"use_topk": "true"}, None, "use_topk True in s.safetensors"),
        ({"activation": "relu"}, {"architecture": "topk"}, "architecture topk in cfg.json"),
    ],
)
@pytest.mark.parametrize("told", ["", ",relu"])
def test_what_says_that_it_is_of_another_kind_is_refused_whatever_the_user_says(
    metadata: dict[str, str], config: object, got: str, told: str, tmp_path: Path
) -> None:
    """In the file's own metadata, or beside it as SAELens and others have it, however deep."""
    path = written(tmp_path, metadata, config)
    with pytest.raises(SalientError) as caught:
        read_sparse(path + told, NEURONS)
    assert str(caught.value) == f"{path}: {OTHER}{got}; its latents would be others if they were read as rectified"


@pytest.mark.parametrize(
    ("metadata", "config", "name", "ground"),
    [
        ({"activation": "torch.nn.ReLU()"}, {"architecture": "standard"}, "cfg.json", "activation torch.nn.ReLU() in s.safetensors"),
        ({}, {"architecture": "standard", "k": None, "normalize_activations": "none"}, "cfg.json", "architecture standard in cfg.json"),
        ({}, {"trainer": {"dict_class": "AutoEncoder"}}, "config.json", "dict_class AutoEncoder in config.json"),
        ({}, {"activation_fn": "relu"}, "s.json", "activation_fn relu in s.json"),
        ({"activation": "relu"}, {"activation": "gelu"}, "config.json", "activation relu in s.safetensors"),
        ({"format": "pt"}, "not JSON", "cfg.json", NOBODY),
        ({"note": "no top-k"}, {"dataset": "aggregated pictures", "model_name": "gated"}, "cfg.json", NOBODY),
        ({}, {"architecture": "resnet50", "activation_fn": None, "d_in": 12}, "cfg.json", NOBODY),
        ({}, {"activation_fn": "relu"}, "other.json", NOBODY),
    ],
)  # fmt: skip
def test_who_says_that_it_is_rectified(
    metadata: dict[str, str], config: object, name: str, ground: str, tmp_path: Path
) -> None:
    path = written(tmp_path, metadata, config, name)
    found = read_sparse(path, NEURONS)
    assert found.read_as.ground == ground and found.basis.count == LATENTS
    assert found.to_json() == {"file_sha256": found.file_sha256, "read_as": "rectified", "because": ground}
    line = f"{path}: read as rectified: {ground}"
    if ground == NOBODY:
        line = (
            f"warning: {path}: read as rectified, and {NOBODY}; a top-k autoencoder has the same tensors, and other "
            f"latents: if it is a rectified one, say --basis sae:{path},relu"
        )
    assert found.read_as.line(path) == line
    said = read_sparse(f"{path},relu", NEURONS)
    assert said.read_as.line(path) == f"{path}: read as rectified: --basis says relu"
    assert said.basis.sha256 == found.basis.sha256


@pytest.mark.parametrize("activation", ["gelu", "leaky_relu", "LeakyReLU", "nn.Softplus()", "identity"])
def test_another_function_is_refused_unless_the_user_says_that_it_is_of_something_else(
    activation: str, tmp_path: Path
) -> None:
    path = written(tmp_path, {}, {"activation_function": activation})
    with pytest.raises(SalientError) as caught:
        read_sparse(path, NEURONS)
    got = f"activation_function {activation} in cfg.json; if that is of something else, say --basis sae:{path},relu"
    assert str(caught.value) == f"{path}: {OTHER}{got}"
    assert read_sparse(f"{path},relu", NEURONS).read_as.said


def test_what_is_to_be_typed_can_be_pasted(tmp_path: Path) -> None:
    path = written(tmp_path / "my own", {}, None)
    assert read_sparse(path, NEURONS).read_as.line(path).endswith(f"say --basis 'sae:{path},relu'")


def test_what_is_done_to_neurons_first_is_as_the_configuration_says(tmp_path: Path) -> None:
    path = written(tmp_path / "a", {}, {"architecture": "standard", "apply_b_dec_to_input": False})
    found, t = read_sparse(path, NEURONS), tensors()
    assert found.basis.bias.tolist() == t["b_enc"].double().tolist()
    assert found.read_as.line(path).endswith("; b_dec is not taken off the neurons, as a configuration says")
    usual = read_sparse(written(tmp_path / "b", {}, {"apply_b_dec_to_input": True}), NEURONS)
    taken = t["b_enc"].double() - t["b_dec"].double() @ t["W_enc"].double()
    assert torch.allclose(torch.from_numpy(usual.basis.bias), taken, atol=1e-6)
    scaled = written(tmp_path / "c", {}, {"normalize_activations": "layer_norm"})
    with pytest.raises(
        SalientError, match="of neurons that are scaled first; .*; got normalize_activations layer_norm"
    ):
        read_sparse(scaled, NEURONS)


def test_a_configuration_on_the_hub_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cache, without a connection; where the cache has none, nobody says it."""
    written(tmp_path / "sae", {}, {"architecture": "topk"})
    into_cache(tmp_path / "sae", tmp_path / "cache", "owner/name")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SalientError, match="got architecture topk in cfg.json"):
        read_sparse("hf://owner/name/s.safetensors", NEURONS)
    (tmp_path / "cache/models--owner--name/snapshots" / ("a" * 40) / "cfg.json").unlink()
    assert read_sparse("hf://owner/name/s.safetensors@main", NEURONS).read_as.ground == NOBODY

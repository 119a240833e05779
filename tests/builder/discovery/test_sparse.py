"""Latents of a sparse autoencoder as features: files, the method by hand, one pass and two, and a grid of tokens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from salient_imagenet_data.annotation.files import read_annotations, write_annotations
from salient_imagenet_data.builder.build import build
from salient_imagenet_data.builder.config import BuildConfig, RunConfig
from salient_imagenet_data.builder.discovery.nonlinearity import NOBODY
from salient_imagenet_data.builder.discovery.sparse import read_sparse
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.robust import ImageClassifier, load_model
from salient_imagenet_data.store.manifest import file_sha256
from salient_imagenet_data.store.reading import Store
from tests.builder.test_build import tree
from tests.conftest import CONFIG, Run, answers_for

LATENTS, NEURONS = 20, 12


def tensors(neurons: int = NEURONS) -> dict[str, torch.Tensor]:
    """In SAELens's layout."""
    torch.manual_seed(7)
    return {
        "W_enc": torch.randn(neurons, LATENTS),
        "b_enc": 0.1 * torch.randn(LATENTS),
        "W_dec": torch.randn(LATENTS, neurons),
        "b_dec": 0.1 * torch.randn(neurons),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sae") / "sae.safetensors"
    save_file(tensors(), path)
    return path


def made(images: Path, weights: Path, out: Path, config: BuildConfig = CONFIG, **options: object) -> Store:
    model, sha256 = load_model(weights)
    return build(FolderSource(images), model, out, weights_sha256=sha256, config=config, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def latents(images: Path, weights: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(images, weights, tmp_path_factory.mktemp("s") / "store", basis=f"sae:{file}")


def encode(r: np.ndarray, parts: dict[str, torch.Tensor]) -> np.ndarray:
    """(..., F) -> (..., R), the formula as SAELens has it."""
    w, b, d = (parts[name].double().numpy() for name in ("W_enc", "b_enc", "b_dec"))
    return np.maximum((r - d) @ w + b, 0.0)


def test_both_layouts_are_the_same_autoencoder(file: Path, tmp_path: Path) -> None:
    t = tensors()
    layers = {
        "encoder.weight": t["W_enc"].T,
        "encoder.bias": t["b_enc"],
        "decoder.weight": t["W_dec"].T,
        "bias": t["b_dec"],
    }
    save_file({name: value.contiguous() for name, value in layers.items()}, tmp_path / "layers.safetensors")
    one, other = read_sparse(str(file), NEURONS), read_sparse(str(tmp_path / "layers.safetensors"), NEURONS)
    assert one.basis.sha256 == other.basis.sha256 and np.array_equal(one.decoder, other.decoder)
    assert one.file_sha256 != other.file_sha256 and one.decoder.shape == one.basis.directions.shape == (20, 12)
    r = np.random.default_rng(0).normal(size=(3, NEURONS))
    numbers = np.tile(np.arange(LATENTS), (3, 1))
    assert np.allclose(one.basis.activations(r, numbers), encode(r, t), atol=1e-6)
    del layers["bias"]  # a decoder's own bias is not taken off
    layers["decoder.bias"] = t["b_dec"] + 1
    save_file({name: value.contiguous().half() for name, value in layers.items()}, tmp_path / "plain.safetensors")
    plain = read_sparse(str(tmp_path / "plain.safetensors"), NEURONS).basis
    expected = np.maximum(r @ t["W_enc"].half().double().numpy() + t["b_enc"].half().double().numpy(), 0.0)
    assert np.allclose(plain.activations(r, numbers), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("W_dec"), "not a sparse autoencoder; expected W_enc and W_dec or encoder.weight and decoder.weight; got W_enc, b_dec, b_enc"),
        (lambda t: t.update(threshold=torch.ones(20)), "an autoencoder of another kind; .*got threshold"),
        (lambda t: t.update(W_enc=torch.ones(13, 20)), r"W_enc does not fit a network of 12 neurons; expected \(20, 12\), latents and neurons; got \(20, 13\)"),
        (lambda t: t.update(W_dec=torch.ones(19, 12)), r"W_dec does not fit .*got \(19, 12\)"),
        (lambda t: t.update(b_enc=torch.ones(19)), r"b_enc does not fit .*expected \(20,\); got \(19,\)"),
        (lambda t: t.update(b_dec=torch.ones(12) / 0), "b_dec is not finite"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(tmp_path: Path, change: object, message: str) -> None:
    t = tensors()
    change(t)  # type: ignore[operator]
    save_file(t, tmp_path / "s.safetensors")
    with pytest.raises(SalientError, match=message):
        read_sparse(str(tmp_path / "s.safetensors"), NEURONS)


def test_no_file_or_another_one(tmp_path: Path, images: Path, weights: Path, run: Run) -> None:
    (tmp_path / "s.safetensors").write_bytes(b"nothing")
    with pytest.raises(SalientError, match="not a safetensors file"):
        read_sparse(str(tmp_path / "s.safetensors"), NEURONS)
    given = ("build", "--images", images, "--weights", weights, "--out", tmp_path / "o", "--basis")
    for basis, message in (
        ("sae:none.safetensors", "none.safetensors: no such file"),
        ("sae", "a basis that is not known"),
    ):
        code, _, err = run(*given, basis)
        assert code == 2 and message in err and not (tmp_path / "o").exists()


def test_against_the_method_by_hand(latents: Store, images: Path, weights: Path) -> None:
    """Every latent of every place in float64, its mean contribution through the decoder, and the tables."""
    model, _ = load_model(weights)
    source, t = FolderSource(images), tensors()
    pixels = np.stack([model.preprocessing.apply(source.pixels(i)) for i in range(len(source))])
    with torch.inference_mode():
        maps, pooled = model.maps_and_features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    z = encode(pooled.double().numpy(), t)
    places = encode(maps.double().permute(0, 2, 3, 1).numpy(), t)
    effect = model.weight.detach().double().numpy() @ t["W_dec"].double().numpy().T
    labels = latents.rows.labels
    for c in range(10):
        mine = np.flatnonzero(labels == c)
        importance = z[mine].mean(axis=0) * effect[c]
        order = np.argsort(-importance, kind="stable")[:4]
        rows = [f for f in latents.features if f.class_index == c]
        assert [f.feature_index for f in rows] == order.tolist()
        assert [f.importance for f in rows] == pytest.approx(importance[order].tolist(), rel=1e-4)
        for slot, latent in enumerate(order):
            assert np.allclose(latents.activations[mine, slot], z[mine, latent], atol=1e-5)
            found = np.asarray(latents.maps)[mine, slot] / 255.0 * latents.peaks[mine, slot][:, None, None]
            peak = places[mine][..., latent].max(axis=(1, 2))
            assert np.allclose(latents.peaks[mine, slot], peak, rtol=1e-4, atol=1e-5)
            assert (np.abs(found - places[mine][..., latent]).max(axis=(1, 2)) <= 0.51 / 255 * peak + 1e-5).all()
    active = latents.manifest.network["basis"]["active"]
    assert active == {
        "images": 40,
        "positive": pytest.approx((z > 0).mean(), abs=6e-5),
        "never": pytest.approx(1 - (z > 0).any(axis=0).mean(), abs=6e-5),
    }
    used = sorted({f.feature_index for f in latents.features})
    assert latents.basis is not None and latents.basis.numbers.tolist() == used and latents.manifest.feature_count == 20
    assert latents.manifest.network["basis"]["kind"] == "sae" and latents.basis.words(3) == "latent 3"


def test_a_pilot_and_what_it_missed_give_the_bytes_of_two_passes(
    latents: Store, images: Path, weights: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, run in enumerate((RunConfig(pilot=1, candidates=20), RunConfig(pilot=1, candidates=4))):
        store = made(images, weights, tmp_path / str(number), run=run, basis=f"sae:{file}")
        assert tree(store.path) == tree(latents.path)
    assert "images go through the network again: no candidates were features of" in capsys.readouterr().err


def test_answers_and_pairs(latents: Store, images: Path, weights: Path, file: Path, tmp_path: Path) -> None:
    """Latents keep their numbers, so answers may name them; another store's pairs bring their basis along."""
    write_annotations(tmp_path / "a.csv", answers_for(latents))
    answers = read_annotations(tmp_path / "a.csv")
    config = dataclasses.replace(CONFIG, attacked=0)
    named = made(images, weights, tmp_path / "named", config, annotations=answers, basis=f"sae:{file}")
    assert np.array_equal(named.maps, latents.maps) and np.array_equal(named.activations, latents.activations)
    assert [f.importance for f in named.features] == [f.importance for f in latents.features]
    assert {f.kind for f in named.features} == {"core", "spurious"}
    carried = made(images, weights, tmp_path / "carried", config, pairs_of=named)
    assert np.array_equal(carried.maps, latents.maps) and np.array_equal(carried.activations, latents.activations)
    assert tree(carried.path)["basis.parquet"] == tree(latents.path)["basis.parquet"]
    assert {f.importance for f in carried.features} == {None}
    said = {"file_sha256": file_sha256(file), "read_as": "rectified", "because": NOBODY}
    basis = latents.manifest.network["basis"]
    assert basis == carried.manifest.network["basis"] | {"active": basis["active"]} and basis.items() >= said.items()
    high = dataclasses.replace(answers.answers[0], feature_index=20)
    with pytest.raises(SalientError, match="row 1: class 0, feature 20 not in this model; .*feature below 20"):
        made(
            images,
            weights,
            tmp_path / "h",
            annotations=dataclasses.replace(answers, answers=(high,)),
            basis=f"sae:{file}",
        )


def test_on_a_grid_of_tokens(images: Path, tmp_path: Path) -> None:
    """A vision transformer: its pooled neurons are the class token, its places the tokens of the patches."""
    torch.manual_seed(2)
    net = torchvision.models.VisionTransformer(64, 16, 1, 2, 8, 16, num_classes=10).eval()
    model = ImageClassifier("vit", net.requires_grad_(False), Preprocessing(64, 64), (0.5,) * 3, (0.25,) * 3)
    t = tensors(8)
    save_file(t, tmp_path / "s.safetensors")
    config, basis = dataclasses.replace(CONFIG, attacked=0), f"sae:{tmp_path / 's.safetensors'}"
    store = build(FolderSource(images), model, tmp_path / "o", weights_sha256="0" * 64, config=config, basis=basis)
    source = FolderSource(images)
    x = torch.from_numpy(np.stack([model.preprocessing.apply(source.pixels(i)) for i in range(40)])).permute(0, 3, 1, 2)
    seen: list[torch.Tensor] = []
    handle = net.encoder.ln.register_forward_hook(lambda m, i, o: seen.append(o))
    with torch.inference_mode():
        net((x.float() / 255 - 0.5) / 0.25)
    handle.remove()
    z, places = (encode(part.double().numpy(), t) for part in (seen[0][:, 0], seen[0][:, 1:]))
    assert store.manifest.grid == (4, 4)
    for row in range(40):
        for f in (f for f in store.features if f.class_index == store.rows[row].label):
            assert store.activations[row, f.slot] == pytest.approx(z[row, f.feature_index], abs=1e-4)
            tokens = places[row, :, f.feature_index].reshape(4, 4)
            found = store.maps[row][f.slot] / 255 * store.peaks[row, f.slot]
            assert np.abs(found - tokens).max() <= 0.51 / 255 * tokens.max() + 1e-4

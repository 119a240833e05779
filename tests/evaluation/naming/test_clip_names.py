"""Names by a network of images and words with random weights, against scores computed on their own."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.naming.bank import COMMON_CUES, default_bank, read_bank
from salient_imagenet_data.evaluation.naming.clip_names import name_features, open_words, weighted
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.words.prompts import TEMPLATES
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run

open_clip = pytest.importorskip("open_clip", reason="pip install 'salient-imagenet-data[clip]'")
BANK = ("sky", "grass", "a red bar", "dark edge", "water")
SIDE = 32


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network of one layer on each side, which looks at 32 pixels."""
    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "tiny-namer.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(1)
    save_file(open_clip.create_model("tiny-namer").state_dict(), folder / "w.safetensors")
    (folder / "words.txt").write_text("# a bank\n" + "\n\n".join(BANK) + "\n sky \n")
    return folder / "w.safetensors"


@functools.cache
def net_and_words(clip: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network, and what it makes of the bank: (words, width)."""
    net = open_clip.create_model("tiny-namer")
    net.load_state_dict(load_file(clip))
    net.eval()
    tokens, texts = open_clip.get_tokenizer("tiny-namer"), []
    with torch.inference_mode():
        for word in BANK:
            each = torch.nn.functional.normalize(net.encode_text(tokens([t.format(word) for t in TEMPLATES])), dim=-1)
            texts.append(torch.nn.functional.normalize(each.mean(dim=0), dim=-1))
    return net, torch.stack(texts)


def cosines_by_hand(store: Store, images: Path, clip: Path, class_index: int, rank: int, count: int) -> np.ndarray:
    """(count, words): without any function of the package but the store's arrays and its crop."""
    net, texts = net_and_words(clip)
    mean, std = (torch.tensor(v)[:, None, None] for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    of_class = [row for row in range(len(store)) if store.rows[row].label == class_index]
    highest = sorted(of_class, key=lambda row: -store.activations[row, rank - 1])[:count]
    found = []
    with torch.inference_mode():
        for row in highest:
            record = store.rows[row]
            box = (
                record.box.left,
                record.box.top,
                record.box.left + record.box.width,
                record.box.top + record.box.height,
            )
            with Image.open(images / f"{record.image_id}.png") as file:
                photo = file.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
            pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1).float() / 255
            grid = torch.from_numpy(store.maps[row][rank - 1].astype(np.float32) / 255)
            soft = torch.nn.functional.interpolate(grid[None, None], (SIDE, SIDE), mode="bilinear")[0]
            x = (soft * pixels + (1 - soft) * mean - mean) / std
            embedded = torch.nn.functional.normalize(net.encode_image(x[None]), dim=-1)[0]
            found.append(texts @ embedded)
    return torch.stack(found).double().numpy()


def test_scores_are_the_mean_cosines_of_what_the_map_leaves(store: Store, images: Path, clip: Path) -> None:
    found = name_features(store, images, open_words("tiny-namer", BANK, str(clip)), count=3)
    assert len(found.names) == 40 and (found.words, found.unseen) == (5, 0)
    by_hand = np.stack(
        [cosines_by_hand(store, images, clip, f.class_index, f.rank, 3).mean(axis=0) for f in store.features]
    )
    for name, feature, scores in zip(found.names, store.features, by_hand, strict=True):
        order = np.argsort(-scores)
        assert (name.class_name, name.feature_index, name.kind) == (
            feature.class_name,
            feature.feature_index,
            feature.kind,
        )
        assert name.score == pytest.approx(scores[order[0]], abs=2e-4) and name.images == 3
        assert name.margin == pytest.approx(scores[order[0]] - scores[order[1]], abs=4e-4) and name.margin >= 0
        if name.margin > 1e-3:
            assert name.word == BANK[order[0]]
            others = (by_hand[:, order[0]].sum() - scores[order[0]]) / 39
            assert name.elsewhere == pytest.approx(others, abs=2e-4)
    assert len({name.word for name in found.names if name.margin > 1e-3}) > 0
    assert found.network["spec"] == "clip:tiny-namer" and len(found.network["weights_sha256"]) == 64


def test_what_the_map_leaves_out_does_not_count() -> None:
    stream = np.random.default_rng(0)
    photo, other = stream.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    soft, mean = np.zeros((8, 8), np.float32), np.array([0.5, 0.25, 0.75], np.float32)
    soft[:4] = 1.0
    other[:4] = photo[:4]
    made = weighted(photo, soft, mean)
    assert np.array_equal(made, weighted(other, soft, mean))
    assert np.allclose(made[:4], photo[:4] / 255) and np.allclose(made[4:], mean)


def test_the_command_prints_and_writes_names_beside_peoples_own(
    store: Store, images: Path, clip: Path, run: Run, tmp_path: Path
) -> None:
    given = ("name", store.path, "--images", images, "--clip", "tiny-namer", "--weights", clip)
    words = ("--words", clip.parent / "words.txt", "--device", "cpu")
    code, out, err = run(*given, *words, "--out", tmp_path / "n.csv")
    assert (code, err) == (0, f"wrote {tmp_path / 'n.csv'}\n")
    head, *rows, last = out.splitlines()
    assert head.split() == ["feature", "kind", "people", "network", "score", "margin", "elsewhere", "next"]
    assert len(rows) == 40 and last == "40 features named among 5 words"
    found = name_features(store, images, open_words("clip:tiny-namer", BANK, str(clip)))
    with (tmp_path / "n.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [(r["word"], float(r["score"])) for r in read] == [(n.word, n.score) for n in found.names]
    assert [r["people"] for r in read] == [n.people or "" for n in found.names]
    code, _, err = run(*given, *words, "--out", tmp_path / "n.csv")
    assert code == 2 and "exists" in err
    seen = {
        tuple(options): run(*given, *options)[1]
        for options in (words, (*words, "-n", 1), (*words, "--kind", "core"), ())
    }
    assert len(set(seen.values())) == 4 and "20 features named" in seen[(*words, "--kind", "core")]
    asked = json.loads(run(*given, *words, "--json", "--kind", "spurious")[1])
    assert [n["rank"] for n in asked["names"]] == [f.rank for f in store.features if f.kind == "spurious"]
    assert f"named among {len(default_bank(store.class_names))} words" in seen[()]
    lacking = Path(shutil.copytree(images, tmp_path / "lacking"))
    (lost,) = lacking.glob(f"{store.rows[0].image_id}.*")
    lost.unlink()
    given = ("name", store.path, "--images", lacking, "--clip", "tiny-namer", "--weights", clip, *words)
    code, out, err = run(*given)
    assert (code, out) == (2, "") and "1 of 40 images" in err and "--skip-missing" in err
    assert run(*given, "--skip-missing")[0] == 0


def test_people_name_features_without_a_network(store: Store, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("name", store.path, "--kind", "core")
    assert code == 0 and out.splitlines()[0].split() == ["class", "feature", "rank", "kind", "name", "reasons"]
    assert len(out.splitlines()) == 21
    (first, *_) = json.loads(run("name", store.path, "--json")[1])
    f = store.features[0]
    said = {"class_name": f.class_name, "feature_index": f.feature_index, "name": f.name}
    assert first == {**said, "rank": 1, "kind": "core", "reasons": 5}
    code, _, err = run("name", store.path, "--out", tmp_path / "x.csv", "--weights", "w")
    assert code == 2 and "--weights: is about naming by a network" in err
    code, _, err = run("name", store.path, "--out", tmp_path / "x.csv")
    assert code == 2 and "--out: is about naming by a network" in err
    code, _, err = run("name", store.path, "--clip", "tiny-namer")
    assert code == 2 and err == "Error: --clip tiny-namer: looks at images; expected --images\n"


def test_images_that_are_missing_leave_their_places_empty(
    store: Store, images: Path, clip: Path, tmp_path: Path
) -> None:
    some = tmp_path / "images"
    shutil.copytree(images, some)
    name = store.class_names[3]
    for path in sorted((some / name).iterdir())[1:]:
        path.unlink()
    network = open_words("tiny-namer", BANK, str(clip))
    with pytest.raises(SalientError, match="3 of 40 images"):
        name_features(store, some, network)
    found = name_features(store, some, network, missing="skip")
    assert {(n.class_name == name, n.images) for n in found.names} == {(True, 1), (False, 4)}
    shutil.rmtree(some / name)
    found = name_features(store, some, network, missing="skip")
    assert (len(found.names), found.unseen) == (36, 4)


def test_banks(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "w.txt"
    path.write_text("sky\n\n# no\n  open   sky \nsky\n")
    assert read_bank(path) == ("sky", "open sky")
    path.write_bytes("sky\r\nöl\r\n".encode("utf-16"))  # as an editor's "Unicode"
    assert read_bank(path) == ("sky", "öl")
    assert default_bank(("n01440764", "sky")) == ("tench", "sky", *(c for c in COMMON_CUES if c != "sky"))
    assert len(set(COMMON_CUES)) == len(COMMON_CUES)
    for text, said in (
        ("sky\nsky\n", "too few words; expected two or more, one a line; got 1"),
        ("a\n" + "b" * 201, "200"),
    ):
        path.write_text(text)
        with pytest.raises(SalientError, match=said):
            read_bank(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SalientError, match="cannot be read"):
        read_bank(path)
    with pytest.raises(SalientError, match="cannot name anything"):
        name_features(store, tmp_path, Classifier("x", lambda images: images))

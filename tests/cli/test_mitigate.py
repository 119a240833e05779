"""retrain-head and finetune as commands, and fine-tuning itself."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.mitigation.choices import LOSSES
from salient_imagenet_data.evaluation.mitigation.finetune import FinetuneConfig, finetune
from salient_imagenet_data.evaluation.mitigation.heads.retrain import retrain_head
from salient_imagenet_data.evaluation.run.settings import Settings
from salient_imagenet_data.evaluation.saliency.alignment import align
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.folder import FolderSource
from salient_imagenet_data.networks.checkpoint import read_checkpoint
from salient_imagenet_data.networks.classifiers import Classifier
from salient_imagenet_data.networks.opening import open_network
from salient_imagenet_data.networks.robust import ImageClassifier, load_model
from salient_imagenet_data.networks.smallnet import SmallNet, SmallNetConfig
from salient_imagenet_data.networks.weights import save_network
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run


def tuned(
    store: Store, images: Path, weights: Path, **options: Any
) -> tuple[torch.nn.Module, list[tuple[float, float]]]:
    losses: list[tuple[float, float]] = []
    seed = int(options.pop("seed", 0))
    config = FinetuneConfig(**{"learning_rate": 3e-3, **options})
    net, _ = finetune(
        Classifier("m", load_model(weights)[0]),
        store,
        FolderSource(images),
        config,
        Settings(batch_size=10, seed=seed),
        report=lambda epoch, classified, guided: losses.append((classified, guided)),
    )
    return net, losses


@pytest.mark.parametrize("loss", [x for x in LOSSES if x not in ("none", "corm", "adversarial")])
def test_every_guidance_loss_goes_down_faster_than_without_it(
    loss: str, store: Store, images: Path, weights: Path
) -> None:
    """The same training, of which only the weight of the loss differs. The adversarial loss depends on its opponent too."""
    weight = {"rrr_star": 0.1, "rrr": 1e4, "grad_mask": 0.1}.get(loss, 5.0)
    _, guided = tuned(store, images, weights, loss=loss, weight=weight, epochs=4)
    _, free = tuned(store, images, weights, loss=loss, weight=0.0, epochs=4)
    assert guided[-1][1] < min(guided[0][1], free[-1][1])


def test_the_same_seed_gives_the_same_network(store: Store, images: Path, weights: Path) -> None:
    states = [tuned(store, images, weights, loss="corm", seed=s)[0].state_dict() for s in (1, 1, 2)]
    same = [all(torch.equal(states[0][k], other[k]) for k in states[0]) for other in states[1:]]
    assert same == [True, False]
    statistics = [k for k in states[0] if "running" in k]
    before = load_model(weights)[0].state_dict()
    assert statistics and all(torch.equal(before[k], states[0][k]) for k in statistics)


def test_what_cannot_be_trained(store: Store, images: Path, weights: Path) -> None:
    source = FolderSource(images)
    with pytest.raises(SalientError, match="f: cannot be trained; expected a network; got function"):
        finetune(Classifier("f", lambda x: x), store, source, FinetuneConfig())
    with pytest.raises(SalientError, match="recipe; expected epochs"):
        FinetuneConfig(learning_rate=0.0)
    broken, _ = load_model(weights)
    broken.net.head.weight.data[0, 0] = torch.inf
    with pytest.raises(SalientError, match="the loss or the weights are not finite in epoch 1; use a smaller learning"):
        finetune(Classifier("broken", broken), store, source, FinetuneConfig())
    aside, _ = load_model(weights)
    aside.register_parameter("unused", torch.nn.Parameter(torch.tensor(torch.nan)))
    with pytest.raises(SalientError, match="the loss or the weights are not finite"):
        finetune(Classifier("aside", aside), store, source, FinetuneConfig(loss="none"))
    for bad in (float("inf"), 2.0):
        with pytest.raises(SalientError, match="recipe"):
            FinetuneConfig(learning_rate=bad)
    with pytest.raises(
        SalientError, match="rrr looks at no attributions; expected a saliency, layer or depth with energy, l1"
    ):
        FinetuneConfig(loss="rrr", layer="body")


def test_a_model_of_other_classes_is_one_line(store: Store, images: Path) -> None:
    seven, source = Classifier("seven", torchvision.models.resnet18(num_classes=7)), FolderSource(images)
    expected = r"does not fit the store; expected \(batch, 10\) logits; got \(1, 7\)"
    for loss in LOSSES:
        with pytest.raises(SalientError, match=expected):
            finetune(seven, store, source, FinetuneConfig(loss=loss))
    with pytest.raises(SalientError, match=expected):
        retrain_head(seven, store, source)
    with pytest.raises(SalientError, match=expected):
        align(seven, store, source, saliency="input_x_gradient")


def test_a_frame_wider_than_the_stores_and_a_network_that_is_left_tidy(store: Store, images: Path) -> None:
    torch.manual_seed(0)
    net = SmallNet(SmallNetConfig(10, (8, 8, 8), 1, 2))
    classifier = Classifier("wide", net, Preprocessing(80, 80))
    config = FinetuneConfig(loss="l1", weight=1.0, learning_rate=1e-3)
    tidy, _ = finetune(classifier, store, FolderSource(images), config, Settings(batch_size=20))
    assert all(p.grad is None and not p.requires_grad for p in tidy.parameters())
    wrapped = ImageClassifier("resnet18", torchvision.models.resnet18(num_classes=10), Preprocessing(64, 64))
    other, _ = finetune(
        Classifier("r", wrapped), store, FolderSource(images), FinetuneConfig(loss="none"), Settings(batch_size=40)
    )
    copy.deepcopy(other)  # holds no graph


def test_commands_write_weights_that_evaluate_reads(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    common = [store.path, "--images", images, "--weights", weights, "--fold", "1/2"]
    code, out, _ = run("retrain-head", *common, "--out", tmp_path / "head.safetensors", "--choose", "random")
    assert code == 0 and "loss" in out and "images" in out
    again = [*common, "--out", tmp_path / "tuned.safetensors", "--loss", "rrr_star", "--epochs", "2"]
    code, _, err = run("finetune", *again, "--saliency", "grad_cam", "--loss-weight", "0.1")
    assert code == 0 and "epoch 2/2  cross entropy" in err and "rrr_star" in err
    code, _, err = run("finetune", *again)
    assert (
        code == 2 and "tuned.safetensors: exists; expected a new file; choose another --out or use --overwrite" in err
    )
    first = (tmp_path / "head.safetensors").read_bytes()
    assert (
        run("retrain-head", *common, "--out", tmp_path / "head.safetensors", "--choose", "random", "--overwrite")[0]
        == 0
    )
    assert first == (tmp_path / "head.safetensors").read_bytes()
    files = [x for name in ("head", "tuned") for x in ("--weights", tmp_path / f"{name}.safetensors")]
    code, out, _ = run(
        "evaluate", store.path, "--images", images, *files, "--fold", "2/2", "--protocol", "spuriosity2023", "--json"
    )
    results = json.loads(out)
    assert code == 0 and len(results) == 2
    for result in results.values():
        assert result["fold"] == "2/2" and result["spurious_gap"]["n"] == result["images"] > 0
    assert not list(tmp_path.glob("*.partial"))


def test_the_record_says_what_was_done(store: Store, images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    common = [
        "finetune",
        store.path,
        "--images",
        images,
        "--weights",
        weights,
        "--learning-rate",
        "0.03",
        "--seed",
        "1",
        "--device",
        "cpu",
    ]
    (tmp_path / "b.csv").write_text(
        "\n".join(["image,left,top,right,bottom", *(f"{i},0,0,30,30" for i in store.rows.image_ids.to_pylist())])
    )
    boxes = ["--boxes", tmp_path / "b.csv", "--annotated-fraction", "0.5"]
    code, _, err = run(*common, *boxes, "--out", tmp_path / "w.safetensors", "--sweep", "4,0.5", "--depth", "middle")
    assert code == 0, err
    record = json.loads((tmp_path / "w.finetune.json").read_text())
    counts = {"images": 40, "with_mask": 40, "used": 20, "elsewhere": 0}
    assert record["annotation"] == {"masks": "boxes", "fraction": 0.5, "seed": 1, **counts}
    assert "guided by the people's boxes of 20 images, of 40 that have one and 40 in all" in err
    assert record["boxes"] == {
        "path": "b.csv",
        "sha256": hashlib.sha256((tmp_path / "b.csv").read_bytes()).hexdigest(),
    }
    assert (record["layer"], record["seed"], record["images"], record["fold"]) == ("net.body.4", 1, 40, "1/1")
    tried = record["sweep"]["tried"]
    assert [t["weight"] for t in tried] == [0.5, 4.0] and "least spurious fifth" in record["sweep"]["criterion"]
    assert record["recipe"]["weight"] == record["sweep"]["chosen"] in (0.5, 4.0)
    assert f"weight {tried[0]['weight']:g}: {tried[0]['least']['value']:.3f} [" in err
    assert f"weight {record['sweep']['chosen']:g} is taken, and the training done on all 40 images" in err
    # The weights are those of the weight that was chosen, trained on all images.
    same = [
        *boxes,
        "--depth",
        "middle",
        "--loss-weight",
        record["sweep"]["chosen"],
        "--out",
        tmp_path / "v.safetensors",
    ]
    assert run(*common, *same)[0] == 0
    assert (tmp_path / "v.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()
    again = json.loads((tmp_path / "v.finetune.json").read_text())
    assert again.pop("sweep") is None and record.pop("sweep") and again == record
    (tmp_path / "v.safetensors").unlink()
    code, _, err = run(*common, *same)
    assert code == 2 and "v.finetune.json: exists; expected a new file; choose another --out or use --overwrite" in err
    code, _, err = run(*common, "--out", tmp_path / "u.safetensors", "--sweep", "1,2", "--loss-weight", "3")
    assert code == 2 and "the weight is said twice; expected --loss-weight or --sweep; got both" in err
    code, _, err = run(*common, "--out", tmp_path / "u.safetensors", "--sweep", "1,two")
    assert code == 2 and "expected numbers with commas between, got '1,two'" in err


def test_a_network_of_a_library_stays_one(store: Store, images: Path, tmp_path: Path, run: Run) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10).eval()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    save_network(net, tmp_path / "a.safetensors", mean, std)
    options = ["--images", images, "--out", tmp_path / "b.safetensors"]
    model = ["--model", "torchvision:resnet18", "--weights", tmp_path / "a.safetensors"]
    code, _, err = run("retrain-head", store.path, *options, *model)
    assert code == 0, err
    before, after = (load_file(tmp_path / f"{name}.safetensors") for name in "ab")
    assert {k for k in before if not torch.equal(before[k], after[k])} == {"fc.weight", "fc.bias"}
    read = open_network("torchvision:resnet18", store.class_names, tmp_path / "b.safetensors").model
    assert torch.equal(read.mean.flatten(), mean) and torch.equal(read.std.flatten(), std)
    x = torch.rand(2, 3, 224, 224)
    features = copy.deepcopy(net)
    features.fc = torch.nn.Identity()
    with torch.inference_mode():
        wanted = features((x - mean[:, None, None]) / std[:, None, None]) @ after["fc.weight"].T + after["fc.bias"]
        assert torch.allclose(read(x), wanted, atol=1e-5)
    # The builder reads it too.
    builders, _ = load_model(tmp_path / "b.safetensors", architecture="resnet18")
    with torch.inference_mode():
        assert torch.allclose(builders(x), wanted, atol=1e-5)
    assert np.isclose(read_checkpoint(tmp_path / "b.safetensors").tensors["normalizer.new_std"][2].item(), 0.6)


def test_a_network_of_a_function_stays_one(
    store: Store, images: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is of a type that is read otherwise when a library's."""
    (tmp_path / "own_models.py").write_text(
        "import torch, torchvision\n"
        "from salient_imagenet_data.networks.classifiers import Normalised\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    net = torchvision.models.resnet18(num_classes=10)\n"
        "    return Normalised(net, (0.5,) * 3, (0.5,) * 3).eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    common = [store.path, "--images", images, "--model", "own_models:make"]
    assert run("retrain-head", *common, "--out", tmp_path / "o.safetensors")[0] == 0
    code, out, err = run("evaluate", *common, "--weights", tmp_path / "o.safetensors", "--no-controls")
    assert code == 0 and "core accuracy" in out, err


def test_every_method_of_a_head_is_one_option_and_says_what_it_did(
    store: Store, images: Path, weights: Path, tmp_path: Path, run: Run
) -> None:
    common = ["retrain-head", store.path, "--images", images, "--weights", weights]
    said = {
        "spuriosity": ([], []),
        "dfr": (["--penalty", "0.3,0.1"], ["C 0.", "held out; 10 draws of 2 images of each of 19 groups"]),
        "jtt": (["--upweight", "3"], ["of 40 images are wrong and count 3 times"]),
        "group-dro": (["--adjustment", "1"], ["loss of the worst of 19 groups "]),
    }
    written = set()
    for name, (options, words) in said.items():
        out = tmp_path / f"{name}.safetensors"
        code, told, err = run(*common, "--method", name, *options, "--out", out)
        assert code == 0 and told.startswith(f"wrote {out}: loss ") and all(w in told for w in words), err
        written.add(out.read_bytes())
        assert len(told.splitlines()) == (2 if words else 1)
    assert len(written) == 4


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("dfr", ["--choose", "most"], "--choose is read by --method spuriosity, not by dfr"),
        ("spuriosity", ["--shown", "0.9"], "--shown is read by --method dfr and jtt and group-dro, not by spuriosity"),
        ("group-dro", ["--penalty", "1"], "--penalty is read by --method dfr, not by group-dro"),
        ("dfr", ["--decay", "1"], "--decay is read by --method spuriosity and jtt and group-dro, not by dfr"),
        ("dfr", ["--upweight", "4"], "--upweight is read by --method jtt, not by dfr"),
        ("jtt", ["--adjustment", "4"], "--adjustment is read by --method group-dro, not by jtt"),
        ("jtt", ["--most", "4"], "--most is read by --method spuriosity, not by jtt"),
        ("jtt", ["--upweight", "inf"], "how often an error counts; expected one or more numbers, each at least 1"),
        ("dfr", ["--penalty", "inf"], "penalty; expected one or more numbers above 0"),
        ("jtt", ["--upweight", "0.5"], "how often an error counts; expected one or more numbers, each at least 1"),
        ("jtt", ["--upweight", "a"], "expected numbers with commas between, got 'a'"),
        ("dfr", ["--penalty", "0"], "penalty; expected one or more numbers above 0"),
        ("dfr", ["--shown", "1.5"], "images that show the cue; expected a share above 0 and below 1, or split"),
    ],
)
def test_an_option_that_a_method_does_not_read_is_refused_before_anything_is_read(
    method: str, options: list[str], words: str, tmp_path: Path, run: Run
) -> None:
    where = ["retrain-head", tmp_path / "none", "--images", tmp_path, "--out", tmp_path / "w.safetensors"]
    code, _, err = run(*where, "--method", method, *options)
    assert code == 2 and words in err and "Traceback" not in err


def test_bad_input_is_one_line(store: Store, images: Path, weights: Path, tmp_path: Path, run: Run) -> None:
    out = ["--out", tmp_path / "w.safetensors"]
    for command in ("retrain-head", "finetune"):
        code, _, err = run(command, store.path, "--images", images, *out)
        assert code == 2 and "give --model SPEC, --weights FILE, or both" in err
        code, _, err = run(command, store.path, "--images", images, "--weights", weights, *out, "--fold", "3/2")
        assert code == 2 and "fold; expected N/M" in err
        code, _, err = run(command, store.path, "--images", tmp_path / "none", "--weights", weights, *out)
        assert code == 2 and "Traceback" not in err and len(err.strip().splitlines()) == 1
        common = [command, store.path, "--images", images, "--weights", weights]
        code, _, err = run(*common, "--out", tmp_path / "no" / "w.safetensors")
        assert code == 2 and "no: no such folder; expected the folder of --out; make it first" in err
        code, _, err = run(*common, "--out", tmp_path / "w.pt")
        assert (
            code == 2 and "w.pt: weights are written as safetensors; expected a name that ends in .safetensors" in err
        )
        code, _, err = run(*common, *out, "--fold", "999/1000")
        assert code == 2 and "fold 999/1000 of" in err and "no images; expected some; got 0 of 40; make fewer" in err
        code, _, err = run(*common, *out, "--seed", "-1")
        assert code == 2 and "Traceback" not in err and "--seed" in err
    code, _, err = run("finetune", store.path, "--images", images, "--weights", weights, *out, "--layer", "nowhere")
    assert code == 2 and "SmallNetModel: no layer 'nowhere'" in err
    common = ["finetune", store.path, "--images", images, "--weights", weights, *out]
    code, _, err = run(*common, "--boxes", tmp_path / "b.csv")
    assert code == 2 and "b.csv: no such file; expected a CSV or JSON of boxes" in err
    code, _, err = run(*common, "--loss", "none", "--sweep", "1,2")
    assert code == 2 and "none has no weight to choose" in err and len(err.strip().splitlines()) == 1
    for bad in ("0", "1.5", "nan"):
        code, _, err = run(*common, "--annotated-fraction", bad)
        assert code == 2 and "Traceback" not in err and "raction" in err
    assert not list(tmp_path.iterdir())

"""Models that answer in words, against a plain loop with transformers over one image and one question at a time."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.plan import Conditions
from salient_imagenet_data.evaluation.run.predictions import read_predictions
from salient_imagenet_data.folds import Fold
from salient_imagenet_data.geometry import Preprocessing
from salient_imagenet_data.images.source import picture_of
from salient_imagenet_data.joining import opened as open_both
from salient_imagenet_data.networks.opening import asked, open_network
from salient_imagenet_data.networks.words import answering
from salient_imagenet_data.networks.words.answering import FEATURES, YesNo, pictures, seen_once, tokens_saying
from salient_imagenet_data.networks.words.asking import QUESTION, Asking
from salient_imagenet_data.store.reading import Store
from tests.conftest import Run
from tests.networks.wordy import ANSWERS, NAMES, SIDE, tokenizer, words_of, write_other, write_towers, write_vlm

transformers = pytest.importorskip("transformers", reason="pip install 'salient-imagenet-data[hf]'")
FIVE = int(transformers.__version__.partition(".")[0]) >= 5
YES, NO = ("yes", "▁yes", "▁Yes", "Yes", "▁YES"), ("no", "▁no", "▁No", "No")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Path:
    return write_vlm(tmp_path_factory.mktemp("vlm") / "folder", names=(*NAMES, *store.class_names))


def images(count: int) -> torch.Tensor:
    """(count, 3, S, S) in [0, 1], between the steps of 8 bits."""
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def by_hand(folder: Path, shown: list[Image.Image], names: tuple[str, ...], question: str = QUESTION) -> np.ndarray:
    """(n, C) P(yes) / (P(yes) + P(no)), by the processor's own way from a conversation to a model's input."""
    processor = transformers.AutoProcessor.from_pretrained(folder)
    net = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    ids = processor.tokenizer.convert_tokens_to_ids
    found = np.zeros((len(shown), len(names)))
    for i, image in enumerate(shown):
        for k, name in enumerate(names):
            words = question.replace("{}", name.replace("_", " "))
            content = [{"type": "image", "image": image}, {"type": "text", "text": words}]
            asked = {"conversation": [{"role": "user", "content": content}], "add_generation_prompt": True}
            if FIVE:
                given = processor.apply_chat_template(**asked, tokenize=True, return_dict=True, return_tensors="pt")
            else:  # which leaves pictures out, or begins twice, as versions go
                text = processor.apply_chat_template(**asked, tokenize=False)
                given = processor(images=[image], text=[text], return_tensors="pt", add_special_tokens=False)
            with torch.inference_mode():
                p = net(**given).logits[0, -1].double().softmax(dim=0)
            yes, no = (sum(p[ids(token)].item() for token in tokens) for tokens in (YES, NO))
            found[i, k] = yes / (yes + no)
    return found


def test_the_logit_is_the_odds_of_yes_over_no(folder: Path) -> None:
    opened = open_network(f"vlm:hf:{folder}", NAMES)
    assert opened.preprocessing == Preprocessing(SIDE, SIDE, "bicubic") and opened.class_names == NAMES
    with torch.inference_mode():
        found = opened.model(images(5)).sigmoid().numpy()
    wanted = by_hand(folder, pictures(images(5)), NAMES)
    assert np.allclose(found, wanted, atol=1e-5)
    assert wanted.std(axis=0).min() > 1e-3 < wanted.std(axis=1).min()  # pictures and names matter
    details = opened.details
    assert details["question"] == QUESTION and len(details["network_sha256"]) == len(details["prompts_sha256"]) == 64
    assert details["prompt"] == f"<s>USER: <image> {QUESTION.replace('{}', 'cat')} ASSISTANT:"
    assert {word: set(tokens) for word, tokens in details["answers"].items()} == {"yes": set(YES), "no": set(NO)}
    model = asked(opened)
    assert model is not None and model.asked == 15 and 0 < model.least <= model.mass / 15 < 1


def test_how_much_yes_and_no_have_together_is_told(folder: Path) -> None:
    opened = open_network(f"vlm:hf:{folder}", NAMES)
    model = asked(opened)
    assert model is not None and model.told() == "asked nothing"
    net = model.net
    with torch.inference_mode():
        opened.model(images(2))
        rows = []
        for k in range(3):
            given = model.processor(images=pictures(images(2)), text=[model.prompts[k]] * 2, return_tensors="pt",
                                    add_special_tokens=False)  # fmt: skip
            p = net(**given).logits[:, -1].softmax(dim=1)
            rows.append(p[:, [*model.yes.tolist(), *model.no.tolist()]].sum(dim=1))
    mass = torch.stack(rows)
    assert model.told().startswith(f"yes and no have {mass.mean():.3g} of the first token's probability, at least ")
    assert f"at least {mass.min():.3g}" in model.told()
    model.mass = 0.4 * model.asked
    assert model.told().endswith("mostly it says something else first, so try another --question")


def towers_calls(model: YesNo, shown: torch.Tensor) -> tuple[int, torch.Tensor]:
    """How often the tower of images runs for some images and all questions, and the answers."""
    (tower,) = (m for n, m in model.net.named_modules() if n.rpartition(".")[2] in ("vision_tower", "visual"))
    calls: list[int] = []
    handle = tower.register_forward_hook(lambda *given: calls.append(1))
    with torch.inference_mode():
        found = model(shown)
    handle.remove()
    return len(calls), found


def test_the_tower_of_images_runs_once_for_all_questions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answers that it gives where it runs for each, for these images and for the next ones."""
    model = asked(open_network(f"vlm:hf:{folder}", NAMES))
    assert model is not None
    once = [towers_calls(model, shown) for shown in (images(4)[:2], images(4)[2:])]
    assert all(FEATURES not in vars(module) for module in model.net.modules())
    monkeypatch.setattr(answering, "seen_once", nullcontext)
    each = [towers_calls(model, shown) for shown in (images(4)[:2], images(4)[2:])]
    assert [calls for calls, _ in once] == [1, 1] and [calls for calls, _ in each] == [3, 3]
    assert all(torch.allclose(a.sigmoid(), b.sigmoid(), atol=1e-6) for (_, a), (_, b) in zip(once, each, strict=True))


class Mixing(torch.nn.Module):
    """Features that hang on the question too, and whoever takes them changes them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def get_image_features(
        self, pixels: torch.Tensor, words: torch.Tensor, *, scale: float = 1.0
    ) -> list[torch.Tensor]:
        self.calls += 1
        return [scale * pixels + words]


def test_features_that_hang_on_the_question_are_made_for_each() -> None:
    net, x, y = Mixing(), torch.ones(2), torch.zeros(2)
    with torch.inference_mode(), seen_once(net):
        net.get_image_features(x, y)[0].add_(5)
        assert net.get_image_features(x.clone(), y)[0].tolist() == [1, 1] and net.calls == 1
        assert net.get_image_features(x, y + 1)[0].tolist() == [2, 2] and net.calls == 2
        assert net.get_image_features(x, y + 1, scale=2.0)[0].tolist() == [3, 3] and net.calls == 3
        assert net.get_image_features(x[:1], y[:1])[0].tolist() == [1] and net.calls == 4
    net.get_image_features(x, y)
    net.get_image_features(x, y)
    assert net.calls == 6


def test_tokens_that_say_a_word_and_nothing_else() -> None:
    words = tokenizer(words_of(NAMES))
    assert set(tokens_saying(words, "yes").values()) == set(YES)  # not yesterday
    assert set(tokens_saying(words, "no").values()) == set(NO)  # neither nothing nor no.


def test_without_a_chat_template_the_question_stands_behind_the_image(tmp_path: Path) -> None:
    opened = open_network(f"vlm:hf:{write_vlm(tmp_path / 'plain', chat=None)}", NAMES)
    assert opened.details["prompt"] == f"<image>\n{QUESTION.replace('{}', 'cat')}"
    model = asked(opened)
    assert model is not None and model.special
    with torch.inference_mode():
        found = opened.model(images(2))
        given = model.processor(images=pictures(images(2)), text=[model.prompts[2]] * 2, return_tensors="pt")
        logits = model.net(**given).logits[:, -1]
    assert given["input_ids"][0, :2].tolist() == [2, 4]  # one token that begins, then the image
    odds = logits[:, model.yes].exp().sum(1).log() - logits[:, model.no].exp().sum(1).log()
    assert torch.allclose(found[:, 2], odds, atol=1e-4)


@pytest.mark.skipif(not FIVE, reason="written as transformers 5 has these families")
@pytest.mark.parametrize(
    ("kind", "preprocessing", "nested"),
    [
        ("qwen2_vl", None, False),
        ("paligemma", Preprocessing(SIDE, SIDE, "bicubic", squash=True), False),
        ("gemma3", Preprocessing(SIDE, SIDE, "bilinear", squash=True), True),
    ],
)
def test_other_families_against_one_image_at_a_time(
    kind: str, preprocessing: Preprocessing | None, nested: bool, tmp_path: Path
) -> None:
    opened = open_network(f"vlm:hf:{write_other(tmp_path, kind)}", NAMES)
    model, shown = asked(opened), images(3)
    assert model is not None and opened.preprocessing == preprocessing and model.nested is nested
    rows = torch.empty(3, len(NAMES))
    calls, found = towers_calls(model, shown)
    assert calls == 1
    with torch.inference_mode():
        for i, image in enumerate(pictures(shown)):
            for k, prompt in enumerate(model.prompts):
                given = model.processor(images=[image], text=[prompt], return_tensors="pt")
                given.pop("labels", None)
                p = model.net(**given).logits[0, -1].softmax(dim=0)
                rows[i, k] = (p[model.yes].sum() / p[model.no].sum()).log()
    assert torch.allclose(found, rows, atol=1e-4)
    assert rows.std(dim=0).min() > 1e-4 < rows.std(dim=1).min()


def test_pictures_are_rounded() -> None:
    (made,) = pictures(torch.tensor([0.4, 0.6, 254.6]).div(255)[None, :, None, None])
    assert np.asarray(made).ravel().tolist() == [0, 1, 255] and made.mode == "RGB"


def test_the_command_evaluates_it_as_any_classifier(
    folder: Path, store: Store, images: Path, run: Run, tmp_path: Path
) -> None:
    spec, out = f"vlm:hf:{folder}", tmp_path / "out"
    given = (
        "evaluate",
        store.path,
        "--images",
        images,
        "--model",
        spec,
        "--name",
        "asked",
        "--top-k",
        0,
        "--fold",
        "1/8",
    )
    code, printed, err = run(*given, "--out", out)
    assert code == 0 and "clean accuracy" in printed, err
    (file,) = (out / "predictions").glob("*.parquet")
    read, classes = read_predictions(file, 10), store.class_names
    plan = Conditions().plan(store, Fold.parse("1/8"))
    assert set(read.conditions) == {"clean", *(c.name for c in plan.conditions)}
    clean = read.conditions["clean"]
    shown = sum(len(answers.image_ids) for answers in read.conditions.values())
    assert f"asked: 10 questions about {shown} images under {len(read.conditions)} conditions, {10 * shown} " in err
    assert f"{spec}: asked '<s>USER: <image> Is there a {classes[0]} in this picture? Answer" in err
    assert "asked: yes and no have 0." in err
    recorded = read.metadata["model"]
    assert recorded["question"] == QUESTION and recorded["spec"] == spec and recorded["dtype"] == "float32"
    _, source = open_both(store, images)
    ids = store.rows.image_ids.to_pylist()
    rows = [ids.index(image_id) for image_id in clean.image_ids[:2]]
    pixels = [Preprocessing(SIDE, SIDE, "bicubic").apply_to_picture(picture_of(source, row)) for row in rows]
    odds = by_hand(folder, [Image.fromarray(p) for p in pixels], classes)
    odds = odds / (1 - odds)
    for i, wanted in enumerate(odds / odds.sum(axis=1, keepdims=True)):  # if exactly one class is there
        assert np.allclose(clean.probabilities[i], np.sort(wanted)[::-1], atol=1e-5)
        assert clean.classes[i, 0] == wanted.argmax()
    code, _, err = run(*given, "--out", out, "--question", "Can you see a {} ?")
    assert code == 2 and "made by another run; model's " in err
    again = ("--out", tmp_path / "again", "--no-controls", "--question", "Can you see a {} ?", "--most-classes", 10)
    code, _, err = run(*given, *again)
    assert code == 0 and f"asked '<s>USER: <image> Can you see a {classes[0]} ? ASSISTANT:'" in err
    (other,) = (tmp_path / "again" / "predictions").glob("*.parquet")
    assert not np.allclose(read_predictions(other, 10).conditions["clean"].probabilities, clean.probabilities)
    code, _, err = run(*given, "--most-classes", 9)
    assert code == 2 and err.endswith(
        f"asked: failed: {spec}: each class is a question of its own, about each image under each condition; expected at "
        "most 9 classes; got 10; take a store of fewer classes, or --most-classes 10\n"
    )
    code, _, err = run(*given, "--corruption", "missing", "--no-controls")
    assert code == 2 and "asked: failed: a model that answers in words: pixels cannot be missing to it" in err


def test_a_question_needs_somebody_to_ask_and_a_place_for_the_name(
    store: Store, images: Path, weights: Path, run: Run, folder: Path
) -> None:
    given = ("evaluate", store.path, "--images", images)
    code, _, err = run(*given, "--weights", weights, "--question", "Is it a {}?")
    assert (code, err) == (
        2,
        "Error: a question, and no model that answers in words; expected --model vlm:hf:NAME\n",
    )
    code, _, err = run(*given, "--model", f"vlm:hf:{folder}", "--question", "Is it a cat?")
    assert (code, err) == (
        2,
        "Error: question; expected {} once, for the name of the class; got 'Is it a cat?'\n",
    )
    code, _, err = run("align", *given[1:], "--model", f"vlm:hf:{folder}", "--saliency", "input_x_gradient")
    assert code == 2 and err.endswith(
        "no gradient reaches its images; expected a classifier, for what goes by gradients\n"
    )


def test_a_thousand_questions_are_not_asked_without_a_word(tmp_path: Path) -> None:
    names = tuple(f"thing {i}" for i in range(1000))
    with pytest.raises(SalientError, match="expected at most 100 classes; got 1000; .*--most-classes 1000"):
        open_network("vlm:hf:owner/nowhere", names)
    assert len(Asking(most=1000).about(names, "x")) == 1000


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("vlm:owner/name", "^vlm:owner/name is not understood; expected vlm:hf:NAME, a model of transformers$"),
        ("vlm:hf:owner/nowhere", "^vlm:hf:owner/nowhere: cannot be opened; got "),
    ],
)
def test_what_cannot_be_asked_is_one_line(spec: str, said: str) -> None:
    with pytest.raises(SalientError, match=said) as caught:
        open_network(spec, NAMES)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_that_answers(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SalientError, match="expected the names of the classes to ask about"):
        open_network(f"vlm:hf:{folder}")
    clip = write_towers(tmp_path / "clip", "clip")
    with pytest.raises(
        SalientError, match=f"not a model that answers in words; got clip; is it a classifier. hf:{clip}"
    ):
        open_network(f"vlm:hf:{clip}", NAMES)
    dumb = write_vlm(tmp_path / "dumb", answers=tuple(a for a in ANSWERS if "yes" not in a.casefold()))
    with pytest.raises(SalientError, match="its vocabulary has no token that says yes"):
        open_network(f"vlm:hf:{dumb}", NAMES)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "dumb" / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": True}))
    with pytest.raises(SalientError, match="reads its prompt apart from its answer; .*; got llava"):
        open_network(f"vlm:hf:{dumb}", NAMES)

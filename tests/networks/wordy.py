"""Tiny models of images and words with random weights, as folders that the libraries themselves wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from salient_imagenet_data.networks.words.asking import QUESTION
from salient_imagenet_data.networks.words.prompts import TEMPLATES

NAMES = ("cat", "dog", "great_white")
SIDE = 32
ANSWERS = ("yes", "▁yes", "▁Yes", "Yes", "▁YES", "no", "▁no", "▁No", "No")
CHAT = (
    "{{ bos_token }}{% for m in messages %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def words_of(names: tuple[str, ...], *, answers: tuple[str, ...] = ANSWERS) -> list[str]:
    """A vocabulary of whole words, each after a space, that holds the prompts, the questions and the names."""
    said = " ".join((*TEMPLATES, *names)).replace("{}", "").replace("_", " ").split()
    asked = f"{QUESTION} Can you see ? USER: ASSISTANT: yesterday nothing".replace("{}", "").split()
    marks = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
    words = [f"▁{word}" for word in (*said, *asked)]
    return list(dict.fromkeys((*marks, *answers, *(word for word in words if word not in ANSWERS))))


def tokenizer(words: list[str], *, ends: bool = True, special: Any = ("<image>",), **more: Any) -> Any:
    """A tokenizer of transformers over whole words, with a token before each text and, where it `ends`, one after it.
    special: what is never part of a word, by name where a processor asks for it by that."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    around = "<s> $A </s>" if ends else "<s> $A"
    inner.post_processor = processors.TemplateProcessing(single=around, special_tokens=[("<s>", 2), ("</s>", 3)])
    marks = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **{"extra_special_tokens" if isinstance(special, dict) else "additional_special_tokens": special},
        model_input_names=["input_ids", "attention_mask"],
        **marks,
        **more,
    )


def write_vlm(folder: Path, *, chat: str | None = CHAT, names: tuple[str, ...] = NAMES, **more: Any) -> Path:
    """A LLaVA of one layer on each side. more: of `words_of`."""
    import transformers

    torch.manual_seed(5)
    words = words_of(names, **more)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**size, image_size=SIDE, patch_size=16)
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    text = transformers.LlamaConfig(**size, vocab_size=len(words), max_position_embeddings=128, **ends)
    image = words.index("<image>")
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=image, vision_feature_layer=-1
    )
    net = transformers.LlavaForConditionalGeneration(config).eval()
    for parameter in net.parameters():  # so that words and pictures matter
        parameter.data.mul_(8 if parameter.ndim > 1 else 1)
    net.save_pretrained(folder)
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_convert_rgb=True
    )
    transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(words, ends=False),
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=chat,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def write_other(folder: Path, kind: str) -> Path:
    """Other families of one layer: a `qwen2_vl`, whose image has as many tokens as it has patches, a `paligemma`, which
    has no chat template, and a `gemma3`, which wants a list of images for each text."""
    import transformers

    torch.manual_seed(8)
    begin, end, soft = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
    words = [*words_of(NAMES), begin, end, soft, "\n", "\n\n"]
    at = {word: i for i, word in enumerate(words)}
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text: dict[str, Any] = {**size, "vocab_size": len(words), "max_position_embeddings": 256}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    narrow = {**text, "num_key_value_heads": 1, "head_dim": 8}
    square = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    chat = CHAT.replace("{{ bos_token }}", "")
    net: Any
    made: Any
    if kind == "qwen2_vl":
        vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 1, "patch_size": 14}
        turning = {"type": "mrope", "mrope_section": [1, 1, 2]}
        marks = {"vision_start_token_id": at[begin], "vision_end_token_id": at[end], "video_token_id": at[soft]}
        config = transformers.Qwen2VLConfig(
            text_config={**text, "num_key_value_heads": 2, "rope_scaling": turning},
            vision_config=vision,
            image_token_id=at["<image>"],
            **marks,
        )
        net = transformers.Qwen2VLForConditionalGeneration(config)
        made = transformers.Qwen2VLProcessor(
            image_processor=transformers.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=16 * 28 * 28),
            tokenizer=tokenizer(words, ends=False, special={"image_token": "<image>", "video_token": soft}),
            video_processor=transformers.Qwen2VLVideoProcessor(),
            chat_template=chat,
        )
    elif kind == "paligemma":
        config = transformers.PaliGemmaConfig(
            text_config={"model_type": "gemma", **narrow},
            vision_config={"model_type": "siglip_vision_model", **size, "image_size": SIDE, "patch_size": 16},
            image_token_index=at["<image>"],
            projection_dim=16,
        )
        net = transformers.PaliGemmaForConditionalGeneration(config)
        square.image_seq_length = 4
        named = {"image_token": "<image>"}
        made = transformers.PaliGemmaProcessor(
            image_processor=square, tokenizer=tokenizer(words, ends=False, special=named)
        )
    else:
        config = transformers.Gemma3Config(
            text_config=narrow,
            vision_config={**size, "image_size": SIDE, "patch_size": 8},
            mm_tokens_per_image=4,
            image_token_index=at[soft],
            boi_token_index=at[begin],
            eoi_token_index=at[end],
        )
        net = transformers.Gemma3ForConditionalGeneration(config)
        named = {"image_token": soft, "boi_token": begin, "eoi_token": end}
        made = transformers.Gemma3Processor(
            image_processor=transformers.Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}),
            tokenizer=tokenizer(words, ends=False, special=named),
            image_seq_length=4,
            chat_template=chat.replace("<image> ", begin),
        )
        torch.nn.init.normal_(net.model.multi_modal_projector.mm_input_projection_weight)
    for parameter in net.parameters():
        parameter.data.mul_(4 if parameter.ndim > 1 else 1)
    net.eval().save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def write_towers(folder: Path, kind: str, names: tuple[str, ...] = NAMES) -> Path:
    """A CLIP or a SigLIP of transformers."""
    import transformers

    torch.manual_seed(6)
    words = words_of(names)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**size, "image_size": SIDE, "patch_size": 16}
    text = {**size, "vocab_size": len(words), "max_position_embeddings": 12, "projection_size": 16}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    half = {"height": SIDE, "width": SIDE}
    net: Any
    if kind == "clip":
        net = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        images = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=half)
        net.text_projection.weight.data.mul_(20)
    else:
        net = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
        images = transformers.SiglipImageProcessor(size=half)
        torch.nn.init.constant_(net.logit_scale, 2.0)
        torch.nn.init.constant_(net.logit_bias, -3.0)
    net.eval().save_pretrained(folder)
    images.save_pretrained(folder)
    tokenizer(words, model_max_length=12).save_pretrained(folder)
    return folder


def write_open_clip(folder: Path, *, seed: int = 7) -> Path:
    """A SigLIP of open_clip as its repositories on the Hub are: its config, its weights and a tokenizer beside them."""
    import open_clip

    words = words_of(NAMES)
    model = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": SIDE,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "token",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 12,
            "vocab_size": len(words),
            "hf_tokenizer_name": "owner/name",
            "width": 64,
            "heads": 2,
            "layers": 1,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    }
    images = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": images}))
    tokenizer(words).save_pretrained(folder)
    torch.manual_seed(seed)
    net = open_clip.create_model(f"local-dir:{folder}")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def into_cache(folder: Path, cache: Path, repository: str) -> None:
    """Lay a folder as the Hub's client keeps what it has downloaded, with its notes of what was asked for in vain."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / ("a" * 40))
    (place / ".no_exist" / ("a" * 40)).mkdir(parents=True)
    for name in ("config.json", "chat_template.jinja", "added_tokens.json", "special_tokens_map.json"):
        if not (folder / name).exists():
            (place / ".no_exist" / ("a" * 40) / name).touch()
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40)

"""Small models of many classes, made from configurations with random weights and saved as people save them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

MATERIAL = Path(os.environ.get("AUTOLABEL_MATERIAL", Path(__file__).parents[3] / "shared" / "material"))
TEXT = ("the", "cat", "sat", "on", "mat", "and", "a", "dog", "ran", "to", "it", "while", "birds", "sang", "in", "old", "trees", "near", "water")


@pytest.fixture
def material() -> Path:
    """The folder of real models; skips where there is none."""
    if not (MATERIAL / "models").is_dir():
        pytest.skip(f"no real models at {MATERIAL} (set AUTOLABEL_MATERIAL)")
    return MATERIAL / "models"


@pytest.fixture
def save_tokenizer() -> Callable[[Path, str], None]:
    """Write a word-level tokenizer: `bert` ([CLS] x [SEP]), `t5` (x </s>), `llama` (<s> x), `gpt2` (no template, <|endoftext|>), `bart` (<s> x </s>)."""

    def save(folder: Path, kind: str) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        special = {"bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "gpt2": ["<|endoftext|>", "<unk>"]}.get(kind, ["<pad>", "<unk>", "<s>", "</s>"])
        words = {word: i for i, word in enumerate([*special, *dict.fromkeys([*TEXT, *"abcdefgh", "b"])])}
        made = Tokenizer(models.WordLevel(words, unk_token=special[1]))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        template = {"bert": "[CLS] $A [SEP]", "t5": "$A </s>", "llama": "<s> $A", "bart": "<s> $A </s>"}.get(kind)
        if template:
            used = [(w, words[w]) for w in special if w in template.split()]
            made.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
        names = {"bert": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
                 "gpt2": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}}.get(
            kind, {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"})
        PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)

    return save


@pytest.fixture
def make_model(tmp_path: Path, save_tokenizer: Callable[[Path, str], None]) -> Callable[..., Path]:
    """`make_model("gpt2", tokenizer="gpt2", n_embd=32, ...)` -> folder with config, safetensors and tokenizer."""

    def make(kind: str, *, tokenizer: str = "bert", head: bool = False, **settings: object) -> Path:
        import torch
        import transformers

        torch.set_num_threads(1)
        folder = tmp_path / kind
        config = transformers.AutoConfig.for_model(kind, **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            auto = transformers.AutoModel
            if head:
                auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
            model = auto.from_config(config)
            for name, tensor in model.named_parameters():  # away from the zeros and ones of a fresh model, so that no term can be left out unseen
                scale = .1 if tensor.ndim == 1 or "relative" in name else .3
                tensor.data += scale * torch.randn(tensor.shape)
        model.save_pretrained(folder)
        save_tokenizer(folder, tokenizer)
        return folder

    return make

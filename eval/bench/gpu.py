"""Extraction on a GPU against the bare forward pass there: `python -m eval.bench.gpu [shape ...] [--dtype float32] [--device cuda]`.

The models have random weights in the shape of known ones, and windows hold words by Zipf's law: speed does not depend on what neurons mean.
A ratio is that of `eval.bench.extraction.steady`, on one thread. Then one more batch passes by while torch refuses to wait for the device.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.protocols import Subject
from autolabel.subjects import load_subject
from autolabel.types import Site
from eval.bench.extraction import ROUND, Row, compared, steady

if TYPE_CHECKING:
    from autolabel.protocols import Visit

SHAPES = {"minilm": (6, 384, 1536), "bert-base": (12, 768, 3072)}  # layers, width, neurons of a layer
VOCABULARY = 30_522
BATCH, CONTEXT = 128, 64


def bench(shape: str, *, device: str = "cuda", dtype: str = "float32", warm: int = 32, rounds: int = 8,
          vocabulary: int = VOCABULARY) -> list[Row]:
    """Everything that extraction counts, of a model of random weights."""
    with tempfile.TemporaryDirectory() as where:
        subject = load_subject(str(random_model(Path(where) / shape, *SHAPES[shape], vocabulary)), device=device, dtype=dtype)
    windows = zipf(BATCH * (warm + ROUND * rounds), CONTEXT, vocabulary)
    rows = steady(subject, windows, batch_size=BATCH, warm=warm, rounds=rounds, quiet=0.5)
    if device.startswith("cuda"):
        never_waits(subject, windows)
    return rows


def random_model(folder: Path, layers: int, width: int, neurons: int, vocabulary: int) -> Path:
    """A BERT of that shape with a tokenizer of `vocabulary` words, as a model folder."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(4, vocabulary))])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=neurons)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def zipf(n: int, length: int, vocabulary: int) -> NDArray[np.int64]:
    """[n, length] content ids, the k-th most frequent 1/k as often as the first."""
    p = 1 / np.arange(1, vocabulary - 3)
    return np.random.default_rng(0).choice(np.arange(4, vocabulary), (n, length), p=p / p.sum())


def never_waits(subject: Subject, windows: NDArray[np.int64]) -> None:
    """Raises RuntimeError where an operation of a batch waits for the device (not the first: it decides how moments are taken)."""
    for _, _, visit_of in compared(subject, windows, BATCH):
        for i in range(3):
            tokens, ids = windows[i * BATCH:(i + 1) * BATCH], np.arange(i * BATCH, (i + 1) * BATCH)
            torch.cuda.synchronize()
            visit = visit_of(ids, tokens)
            if i:
                subject.run(tokens, subject.sites, partial(_strict, visit))
            else:
                subject.run(tokens, subject.sites, visit)


def _strict(visit: Visit, site: Site, x: torch.Tensor, span: slice) -> None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        visit(site, x, span)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def main(arguments: Sequence[str]) -> None:
    """Print the card and a table."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench.gpu")
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), metavar="shape", help=", ".join(SHAPES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="float32", help="of the model")
    parser.add_argument("--warm", type=int, default=32, help="batches before anything is timed")
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    card = torch.cuda.get_device_name(asked.device) if asked.device.startswith("cuda") else asked.device
    print(f"{card}, torch {torch.__version__}, {asked.dtype}, batches of {BATCH} x {CONTEXT}")
    for shape in asked.shapes:
        for row in bench(shape, device=asked.device, dtype=asked.dtype, warm=asked.warm, rounds=asked.rounds):
            print(f"{shape:10s} {row.name:60s} {row.ratio:6.3f}  {row.note}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

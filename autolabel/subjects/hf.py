"""A Hugging Face encoder, decoder or encoder-decoder as a `Subject`: its MLP neurons, read by forward hooks.

The hook is called with the very tensor that enters the down-projection. The pass is ended by an exception out of the
hook of the last site that is needed: that down-projection, later layers and heads are not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autolabel.errors import SettingsError, SubjectError, UnitError
from autolabel.memory import uncollected
from autolabel.subjects import control as controls
from autolabel.subjects.loading import Source, check_versions, find_source, load_model, load_tokenizer, one_line
from autolabel.subjects.special import Specials, content_ids, find_specials, longest_window
from autolabel.subjects.structure import Place, find_places, output_matrix
from autolabel.subjects.trace import Trace, watch
from autolabel.types import Site

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from autolabel.protocols import Visit


class _Done(Exception):
    """Nothing later in this pass is needed."""


@dataclass(frozen=True, eq=False)
class HFSubject:
    """A model whose MLP neurons are read. Made by `load_subject`."""

    name: str  # as in Unit.model
    hash: str  # of weights, configuration, tokenizer and what was done to the weights
    sites: tuple[Site, ...]  # in order
    context: int  # the longest window of content tokens
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase  # a fast one
    tokenizer_hash: str  # of the tokenizer's files
    places: tuple[Place, ...]  # how each site is reached, in the order of `sites`
    specials: Specials  # what is put around a window
    control_of: str | None = None  # the name of the model that this is a control of

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token strings by id, as the tokenizer writes them (`##ing`, `Ġthe`); empty where an id is unused."""
        known = self.tokenizer.get_vocab()
        words = [""] * (max(known.values()) + 1)
        for word, number in known.items():
            words[number] = word
        return words

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that are no text even inside a window: [SEP], <|endoftext|>, ... written out in a document (not the unknown word)."""
        return self.specials.ids

    @property
    def concurrent(self) -> bool:
        """Whether passes may run side by side, each on a thread of its own."""
        return self.device.type == "cpu"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def place(self, site: Site) -> Place:
        """How a site is reached. Raises UnitError."""
        for place in self.places:
            if (place.site.layer, place.site.name) == (site.layer, site.name):
                return place
        raise UnitError(f"{self.name} has no site {site.layer}-{site.name}: it has {_listed(self.sites)}")

    def site(self, layer: str, name: str = "mlp") -> Site:
        """The site of a layer. Raises UnitError."""
        return self.place(Site(layer, 0, name, 0, False)).site

    def check(self, tokens: NDArray[np.int64]) -> None:
        """Raises SubjectError where windows [B, T] are too long for the model, or hold ids that it does not know."""
        if tokens.shape[1] > self.context:
            raise SubjectError(f"windows of {tokens.shape[1]} tokens are longer than {self.name} takes: at most {self.context}")
        if tokens.size and (int(tokens.max()) >= self.specials.vocabulary or int(tokens.min()) < 0):
            raise SubjectError(f"token id {int(tokens.max())} is unknown to {self.name}, which has {self.specials.vocabulary}")

    def run(self, tokens: NDArray[np.int64], sites: Sequence[Site], visit: Visit) -> None:
        """One forward pass of windows [B, T] of content ids, ended after the last of `sites`.

        `visit(site, x, span)` sees float32 x [B, T', U] in the order of the pass, content at x[:, span]: the very tensor that
        enters the down-projection (a copy only where the model computes in another type, or leaves it non-contiguous).
        Raises UnitError, SubjectError.
        """
        if not sites:
            return
        self.check(tokens)
        batch, length = tokens.shape
        places = sorted((self.place(site) for site in sites), key=lambda p: p.stage)
        wanted: dict[nn.Module, dict[int, Place]] = {}
        for place in places:
            wanted.setdefault(place.module, {})[place.call] = place
        counts, mine = dict.fromkeys(wanted, 0), get_ident()

        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if get_ident() != mine:  # a pass beside this one
                return
            place = wanted[module].get(counts[module])
            counts[module] += 1
            if place is None:
                return
            visit(place.site, place.windows(args[0], batch).contiguous().float(), self.specials.span(length, place.stack))
            if place is places[-1]:
                raise _Done

        handles = [module.register_forward_pre_hook(hook) for module in wanted]
        try:
            with torch.inference_mode():
                self.model(**self.specials.inputs(tokens, self.device))
        except _Done:
            return
        finally:
            for handle in handles:
                handle.remove()
        raise SubjectError(f"{self.name} did not reach {places[-1].name}: its path depends on the input")

    def activations(self, tokens: NDArray[np.int64], site: Site) -> torch.Tensor:
        """x [B, T, U] of the content tokens, float32, a copy on the CPU: for small things."""
        kept: list[torch.Tensor] = []
        self.run(tokens, [site], lambda _site, x, span: kept.append(x[:, span].to("cpu", copy=True).contiguous()))
        return kept[0]

    def output_weights(self, site: Site) -> torch.Tensor:
        """[U, d_model]: what each neuron writes into the residual stream. A view of the down-projection."""
        return output_matrix(self.place(site).module)

    def describe(self) -> list[dict[str, str | int | bool]]:
        """One row for each site, to be shown before a run: layer, site, width, two_sided, nonlinearity, module."""
        return [{"layer": p.site.layer, "site": p.site.name, "width": p.site.width, "two_sided": p.site.two_sided,
                 "nonlinearity": p.nonlinearity, "module": p.name} for p in self.places]


@uncollected()
def load_subject(spec: str, *, device: str = "auto", dtype: str = "auto", revision: str | None = None, threads: int | None = None,
                 control: str | None = None, seed: int = 0) -> HFSubject:
    """Load `demo`, a hub id or a local folder, and find its neurons.

    `control` is None, `shuffled`, `initialised` or `embeddings-kept` (see control.py); `seed` is that of the control alone.
    Raises SubjectError, ExtraError, SettingsError.
    """
    check_versions()
    if control is not None and control not in controls.CONTROLS:
        raise SettingsError(f"control {control!r} is unknown: {', '.join(controls.CONTROLS)}")
    if threads is not None:
        if threads < 1:
            raise SettingsError(f"threads = {threads} is out of range: at least 1")
        torch.set_num_threads(threads)
    source = find_source(spec, revision=revision)
    tokenizer = load_tokenizer(source)
    model = load_model(source, device=device, dtype=dtype)
    subject = build_subject(source, model, tokenizer)
    return subject if control is None else controls.control(subject, control, seed=seed)


def build_subject(source: Source, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> HFSubject:
    """Find special tokens and sites by one small pass. Raises SubjectError."""
    specials = find_specials(model, tokenizer)
    row = content_ids(specials, 7)
    tokens = np.array([row[:6], [*row[:5], row[6]]], np.int64)  # two windows which differ in the last token
    trace = _probe(model, specials, tokens, source.name)
    places = find_places(model, trace, *tokens.shape)
    if specials.start is None and not specials.prefix and _is_causal(trace, places[-1], 2):
        specials = specials.with_bos(tokenizer, model.config)
    subject = HFSubject(source.name, source.files.hash, tuple(p.site for p in places), longest_window(model, specials), model, tokenizer,
                        source.files.tokenizer_hash, places, specials)
    _check_windows_apart(subject, tokens)
    return subject


def _probe(model: PreTrainedModel, specials: Specials, tokens: NDArray[np.int64], name: str) -> Trace:
    """What one pass shows."""
    inputs = specials.inputs(tokens, next(model.parameters()).device)
    try:
        return watch(model, lambda: model(**inputs))
    except Exception as error:  # a model that wants more than token ids can fail in any way
        raise SubjectError(f"{name} cannot be run on token ids alone ({type(model).__name__}: {one_line(error)})") from error


def _check_windows_apart(subject: HFSubject, tokens: NDArray[np.int64]) -> None:
    """A window alone must give what it gives in a batch: else its axes are not what they seem, or windows touch each other."""
    together: dict[str, torch.Tensor] = {}
    subject.run(tokens, subject.sites, lambda site, x, span: together.update({site.layer: x[:1, span].clone()}))
    tolerance = 1e-3 if subject.model.dtype == torch.float32 else 0.1

    def compare(site: Site, x: torch.Tensor, span: slice) -> None:
        expected = together[site.layer]
        if x.shape[0] != 1 or (x[:, span] - expected).abs().max() > tolerance * (1 + expected.abs().max()):
            raise SubjectError(f"{subject.name}, layer {site.layer}: a window's neurons depend on the windows beside it: not supported")

    subject.run(tokens[:1], subject.sites, compare)


def _is_causal(trace: Trace, last: Place, batch: int) -> bool:
    """Whether the first token's neurons are untouched by the last token."""
    call = next(c for c in trace.calls if c.module is last.module and c.call == last.call)
    first = call.value.reshape(batch, -1, call.value.shape[-1])[:, 0]
    return bool(torch.equal(first[0], first[1]) or torch.allclose(first[0], first[1], atol=1e-6))


def _listed(sites: Sequence[Site]) -> str:
    names = [f"{s.layer}-{s.name}" for s in sites]
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:3])}, ..., {names[-1]}"

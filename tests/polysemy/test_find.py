"""Units of a made-up language with one to three senses: found, named, proved; a unit of one sense stays whole."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pytest

from autolabel.explainers.induce import Induce
from autolabel.patterns.run import run
from autolabel.polysemy.find import UnitSenses, find_senses
from autolabel.polysemy.proof import Claim, prove
from autolabel.polysemy.reading import activations, read
from autolabel.types import Unit
from tests.scorers.scorer_world import STEMS, VOCABULARY, ToySubject, dense, world

FAMILIES = {name: [w for w in STEMS[:70] if w.startswith(name)] for name in ("fo", "gu", "ha", "ki", "lo")}
MIXED = [FAMILIES[name][i] for i, name in enumerate(("fo", "gu", "ha", "ki", "lo"))] + [STEMS[18], STEMS[9]]  # no two of one family
PLANTED = {0: [FAMILIES["fo"]], 1: [FAMILIES["gu"]], 2: [FAMILIES["fo"], FAMILIES["ha"]], 3: [FAMILIES["gu"], FAMILIES["ki"], FAMILIES["lo"]], 4: [MIXED]}


@dataclass(frozen=True)
class Several(ToySubject):
    """Unit u fires on the words of its senses, on the first token of a word; unit 5 never does; the others are as they were."""

    def x(self, tokens: np.ndarray, layer: int) -> np.ndarray:
        out = super().x(tokens, layer)
        more = 0.2 * np.sin(np.concatenate([tokens[:, :1], tokens[:, :-1]], 1))
        for u, senses in PLANTED.items():
            out[..., u] = -0.5
            for k, words in enumerate(senses):
                on = np.isin(tokens, [VOCABULARY.index(w) for w in words])
                out[on, u] = (1 - 0.2 * k + more)[on]
        out[..., 5] = -1
        return out


@dataclass(frozen=True)
class Meaning:
    """Words of one family point the same way, about."""

    hash: str = "meaning"

    def embed(self, texts):
        def vector(word):
            family, own = (np.random.default_rng(zlib.crc32(part.encode())).normal(size=48) for part in (word[:2], word))
            return family + own
        x = np.stack([np.mean([vector(w) for w in text.casefold().split()], 0) for text in texts])
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def here():
    return world(Several(layers=1), documents=(160, 120, 160))


def patterns(some, excerpts):
    return run(some, excerpts, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def found(here) -> dict[int, UnitSenses]:
    units = [Unit("toy", "0", "mlp", u) for u in range(6)]
    senses = find_senses(units, here.explain, here.select, here.test, run=patterns, embedder=Meaning(), induce=Induce(like=False, concepts=False))
    return {f.unit.index: f for f in senses}


def test_a_unit_of_one_sense_stays_whole(found) -> None:
    for u in (0, 1, 4):
        assert len(found[u].senses) == 1 and found[u].n_eff == pytest.approx(1)
        sense = found[u].senses[0]
        assert sense.real and sense.proof.score > 0.8 and sense.share > 0.8
        assert sense.attribution > 0.85  # the token alone makes it fire
    assert found[5].senses == () and found[5].reason == "the unit never fires on explain"


def test_senses_are_found_and_each_has_its_own_words(found) -> None:
    words = [{word[:2] for word in s.words} for s in found[2].senses]
    assert sorted(map(sorted, words)) == sorted([words[0][:2]] for words in PLANTED[2])
    for u, least in ((2, 2), (3, 2)):  # of three senses two may stay together: a language of ten families is no reference of strangers
        senses = found[u].senses
        assert least <= len(senses) <= len(PLANTED[u]) and all(s.real for s in senses)
        assert 1.5 < found[u].n_eff <= len(senses)
        assert 0.6 < sum(s.share for s in senses) <= 1.0001
        for i, s in enumerate(senses):
            assert s.gain_low > 0 and s.proof.score > 0.7 and s.proof.unscored is None and s.confusion[i] == max(np.nan_to_num(s.confusion, nan=-1))


def test_proof_is_the_correlation_on_the_tokens_of_no_other_cluster(here, found) -> None:
    layer, = [x for x in _layers(here)]
    senses = found[2].senses
    clusters = tuple(s.words for s in senses)
    claims = [Claim(2, _parse(s.label.pattern), clusters, i) for i, s in enumerate(senses)]
    foreign = [(u, _parse(found[u].senses[0].label.pattern)) for u in (0, 1, 4)]
    again = prove(here.test, layer, claims, foreign, patterns)
    e = here.split["test"]
    a, view = dense(here.subject, e, here.subject.sites[0]), read(e, activations(here.test, e, here.subject.sites[0], "+"), [c.pattern for c in claims], patterns)
    assert np.allclose(view.a, a, atol=1e-6)
    owner = view.owner(clusters)
    for i, (claim, proof) in enumerate(zip(claims, again, strict=True)):
        inside = (owner == i) | (owner < 0)
        c = view.strength([i])[inside, 0]
        rho = [np.corrcoef(a[inside, u], c)[0, 1] if a[inside, u].std() else -1 for u in range(a.shape[1])]
        assert proof.score == pytest.approx(rho[2], abs=1e-6) and proof.n == inside.sum()
        assert proof.score == pytest.approx(senses[i].proof.score)
        assert proof.p_foreign == pytest.approx((1 + sum(rho[u] >= rho[2] for u in range(len(rho)) if u != claim.unit)) / len(rho))


def _layers(here):
    from autolabel.explainers import gather

    return gather.layers(here.explain, [("0", "+")], gather.lexicon_of(here.explain, [("0", "+")]))


def _parse(text):
    from autolabel.patterns.syntax import parse

    return parse(text)

"""The verdict is total, and the first that holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.stats import benjamini_hochberg
from autolabel.verdicts import Findings, Rival, contest, judge

STATES = ("abstained", "failed", "unscored", "imprecise", "polysemantic", "contested")
ROW = st.tuples(*(st.sampled_from([None, "because"]) for _ in STATES), st.floats(0, 1), st.floats(0, 1), st.one_of(st.just(float("nan")), st.floats(-1, 1)))


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30))
def test_total_and_in_order(rows: list[tuple]) -> None:
    columns = list(zip(*rows, strict=True))
    found = judge(Findings(p_foreign=columns[6], p_size=columns[7], score=columns[8], **dict(zip(STATES, columns[:6], strict=True))))
    dead = [any(r[:3]) or np.isnan(r[8]) for r in rows]
    p = [1.0 if d else max(r[6], r[7]) for d, r in zip(dead, rows, strict=True)]
    q, q_foreign = benjamini_hochberg(p), benjamini_hochberg([1.0 if d else r[6] for d, r in zip(dead, rows, strict=True)])
    np.testing.assert_allclose(found.q, q)
    for i, r in enumerate(rows):
        states = [*r[:2], r[2] or ("nan" if np.isnan(r[8]) else None), *r[3:6]]
        named = next((name for name, why in zip(STATES, states, strict=True) if why), None)
        want = named or ("confirmed" if q[i] < 0.05 else "partial" if q_foreign[i] < 0.05 else "rejected")
        assert found.verdict[i] == want and found.reason[i]


def test_reasons_are_kept() -> None:
    found = judge(Findings([0.001] * 4, [0.001, 0.9, 0.001, 0.001], [0.5, 0.3, np.nan, 0.4], abstained=[None] * 4,
                           unscored=[None, None, "the unit's activation does not vary on test", None],
                           imprecise=[None, None, None, "it fires in 3 test documents, fewer than 20"]))
    assert found.verdict.tolist() == ["confirmed", "partial", "unscored", "imprecise"]
    assert found.reason[2] == "the unit's activation does not vary on test" and found.reason[3].startswith("it fires in 3")
    assert found.p.tolist() == [0.001, 0.9, 1.0, 0.001]


def test_nothing_attempted() -> None:
    assert len(judge(Findings([], [], [], abstained=[])).verdict) == 0


def test_adaptive_sampling_costs() -> None:
    one = {"p_foreign": [0.001], "score": [0.5], "abstained": [None]}
    assert judge(Findings(p_size=[0.04], **one)).verdict[0] == "confirmed"
    assert judge(Findings(p_size=[0.04], adaptive=[True], **one)).verdict[0] == "partial"


def test_bad_columns() -> None:
    with pytest.raises(ValueError, match="length"):
        judge(Findings([0.1], [0.1, 0.2], [0.3, 0.3], abstained=[None, None]))
    with pytest.raises(ValueError, match="probability"):
        judge(Findings([1.1], [0.1], [0.3], abstained=[None]))


@pytest.mark.parametrize(("own", "rival", "contested"), [
    ((.2, .4), (.3, .2, .49), True), ((.2, .4), (.3, .2, .5), False), ((.2, .4), (.9, .8, .95), False),  # touching chance says nothing
    ((-.4, -.2), (.9, .8, .95), True), ((-.4, -.2), (.3, .2, .49), False), ((-.1, .2), (.3, .2, .49), False), ((None, None), (.3, .2, .4), False),
])
def test_another_scorer_contests_from_the_other_side_of_its_chance_alone(own: tuple, rival: tuple, contested: bool) -> None:
    why = contest(*own, [Rival("detection", "openai/x", "select", *rival, .5)])
    assert (why is not None) is contested
    if why:
        assert f"detection by openai/x on select is {rival[0]:.2f}" in why and "chance level 0.5" in why


def test_the_farthest_of_several_is_described_and_the_others_named() -> None:
    rivals = [Rival("fuzzing", "j", "select", .4, .3, .48, .5), Rival("generative", "j", "select", -.8, -.9, -.6, 0.), Rival("intruder", "j", "select", .9, .8, 1, .2)]
    why = contest(.2, .4, rivals)
    assert why is not None and why.startswith("generative by j") and why.endswith("so say fuzzing")

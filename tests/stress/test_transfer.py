from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from linear_support import Linear, LinearStream
from torch import nn

from holdfast.stress import PGD, AutoAttack, Transferred, evaluate_robustness
from holdfast.testing import check_stressor

EPS = 0.02
STREAM = LinearStream(Linear(4), 12, wrong=1)


@dataclass(frozen=True)
class Source:
    """Makes the linear classifier drawn from ``seed``."""

    seed: int = 0

    def __call__(self) -> nn.Module:
        return Linear(4, seed=self.seed)


def test_keeps_the_contract() -> None:
    check_stressor(Transferred(PGD(eps=EPS), Source(1)), Linear(4), STREAM.x, STREAM.y)


def values(attack: Any) -> dict[Any, float]:
    records = evaluate_robustness(Linear(4), STREAM, attack)
    return {(record.metric, record.labels.get("broken_by")): record.value for record in records}


def test_against_the_same_network_it_is_the_attack_itself() -> None:
    attack = AutoAttack(eps=EPS, attacks=["apgd-ce", "apgd-t"])
    assert values(Transferred(attack, Source())) == values(attack)
    assert Transferred(attack, Source()).labels == attack.labels


def test_the_verdict_is_that_of_the_model() -> None:
    """What another network was made to get wrong, this one mostly has right."""
    attack = AutoAttack(eps=EPS, attacks=["apgd-ce", "apgd-t"])
    own, others = values(attack), values(Transferred(attack, Source(7)))
    assert others["clean_accuracy", None] == own["clean_accuracy", None]
    assert others["robust_accuracy", None] > own["robust_accuracy", None]


def test_inputs_are_made_against_the_source() -> None:
    with torch.no_grad():
        y = Linear(4, seed=7)(STREAM.x).argmax(1)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    with PGD(eps=EPS).apply(Linear(4, seed=7), STREAM.x, y, generators[0]) as truth:
        with Transferred(PGD(eps=EPS), Source(7)).apply(Linear(4), STREAM.x, y, generators[1]) as found:
            assert torch.equal(found.x, truth.x)
            assert isinstance(found.model, Linear)
            assert torch.equal(found.model.weight, Linear(4).weight)

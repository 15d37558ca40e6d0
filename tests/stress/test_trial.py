from __future__ import annotations

import pytest
import torch
from stress_support import STREAM, make_net

from holdfast.core.errors import UsageError
from holdfast.stress import Nothing
from holdfast.stress.trial import judged_by, laboratory


def test_batches_are_read_in_any_order() -> None:
    with laboratory(make_net, STREAM, batch_size=16, seed=0) as lab:
        for number in (2, 0, 1, 1, 2):
            x, y = lab._batches[number]
            assert torch.equal(x, STREAM.x[number * 16 :][:16])
            assert torch.equal(y, STREAM.y[number * 16 :][:16])
        with pytest.raises(UsageError, match="at least 4 batches"):
            lab._batches[3]


def test_data_may_come_from_a_factory() -> None:
    with laboratory(make_net, lambda: STREAM, batch_size=16, seed=0) as lab:
        assert lab.run(Nothing(), 0, 2) == {"trial": 0, "batch": 2, "labels": {}, "outcome": "answered"}


def test_unknown_judgement() -> None:
    class Odd(Nothing):
        judged_by = "mood"

    with pytest.raises(UsageError, match="mood"):
        judged_by(Odd())

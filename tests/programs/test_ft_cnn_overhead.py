"""The overhead program: every comparison is there, correct before it is timed, and says how it was made."""

import numpy as np
import pytest
import torch
from torch import nn

from holdfast.core.errors import DataError
from holdfast.core.result import read_records
from holdfast.programs import overhead, overhead_pairs
from holdfast.programs.baselines import fastest_eager

BASELINES = ["checks off", "fastest eager"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A small model, two batches, two processes."""
    out = tmp_path_factory.mktemp("overhead")
    overhead.run(
        out,
        models=["cnn"],
        batches=[1, 2],
        baselines=BASELINES,
        errors=["block", "row", "column"],
        scheme_batches=[2],
        size=16,
        pairs=4,
        processes=2,
        seed=0,
    )
    return read_records(out / "records.jsonl")


def test_every_comparison_has_one_record(records):
    found = [
        (r.labels["batch"], r.labels["error"], r.labels["baseline"])
        for r in records
        if r.metric == "overhead"
    ]
    wanted = {
        (batch, error, baseline)
        for batch in (1, 2)
        for error in ("none", "block", "row", "column")
        for baseline in (BASELINES if error == "none" else ["error-free", "fastest eager"])
    }
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_every_scheme_is_timed_at_the_batch_asked_for(records):
    found = {(r.labels["scheme"], r.labels["positions"]) for r in records if r.metric == "scheme_time"}
    schemes = {"CoC", "RC", "ClC", "FC", "workflow"}
    assert found == {("CoC-D", "every")} | {(s, p) for s in schemes for p in ("every", "one")}
    assert {r.labels["batch"] for r in records if r.metric == "scheme_time"} == {2}
    assert all(r.value > 0 for r in records if r.metric == "scheme_time")
    compared = {(r.labels["of"], r.labels["to"]) for r in records if r.metric == "scheme_ratio"}
    assert compared == {
        *((scheme, "FC") for scheme in ("CoC-D", "CoC", "RC", "ClC")),
        ("CoC-D", "CoC"),
        ("workflow", "all alone"),
    }


def test_records_say_how_they_were_measured(records):
    assert {r.value for r in records if r.metric == "rule_kept"} == {100.0}
    for record in (r for r in records if r.metric != "rule_kept"):
        assert record.timed
        assert record.unit == "%"
        assert record.interval.low <= record.value <= record.interval.high
        assert record.labels["processes"] == 2
        assert record.labels["allocator"] == "glibc, memory kept"
        assert record.labels["threads"] >= 1
    assert {r.labels["pairs"] for r in records if r.metric == "overhead"} == {4}


class Joined(nn.Module):
    """Norms to fold, a sum, ReLUs of both kinds."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.other, self.relu = nn.Conv2d(8, 8, 1), nn.ReLU()

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.relu(self.other(x) + x)


def test_the_fastest_eager_layout_answers_as_the_model_does():
    torch.manual_seed(0)
    model = Joined().eval()
    model.norm.running_mean.normal_()
    x = torch.randn(2, 3, 9, 9)
    kept = x.clone()
    lean, layout = fastest_eager(model, x)
    with torch.no_grad():
        assert torch.allclose(lean(x), model(x), atol=1e-5)
        assert torch.allclose(lean(x), model(x), atol=1e-5)  # in-place operations have spoiled nothing
    assert torch.equal(x, kept)
    assert layout in ("channels_first", "channels_last")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in lean.modules())


def test_a_model_that_answers_differently_is_not_timed(monkeypatch):
    monkeypatch.setattr(overhead_pairs, "fastest_eager", lambda model, x: (Wrong(model), "channels_first"))
    job = overhead_pairs.Job("cnn", 1, 16, ("fastest eager",), ())
    with pytest.raises(DataError, match=r"outputs .* apart"):
        overhead_pairs.measure(job, 1, False, 0)


class Wrong(nn.Module):
    """Twice the answer."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 2 * self.model(x)


def test_errors_strike_every_layer_in_turn():
    torch.manual_seed(0)
    protected = overhead_pairs.protect(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)))
    call = overhead_pairs._struck(protected, torch.randn(2, 2, 6, 6), "row", 0)
    for _ in range(4):
        call()
    assert sorted(event.layer for event in protected.events) == ["0", "0", "2", "2"]
    assert np.all([event.corrected for event in protected.events])

"""The overhead program: every comparison is there, correct before it is timed, and says how it was made."""

from concurrent.futures import Future
from time import sleep

import pytest
import torch
from torch import nn

from holdfast import protect
from holdfast.core.errors import DataError
from holdfast.core.result import read_records
from holdfast.kernels import native
from holdfast.programs import overhead, overhead_pairs
from holdfast.programs.baselines import fastest_eager, forward
from holdfast.programs.rounds import time_rounds
from holdfast.programs.strikes import PATTERNS, struck

BASELINES = ["checks off", "fastest eager"]
GRID = {
    "models": ["cnn"],
    "batches": [2],
    "baselines": BASELINES,
    "errors": ["block", "row", "column"],
    "error_batches": [2],
    "compile_batches": [],
    "scheme_batches": [2],
    "schemes_everywhere": ["cnn"],
    "plans_of": ["cnn"],
    "size": 16,
    "pairs": 4,
    "least": 4,
    "budget_s": 0,
    "limit_s": 1000,
    "processes": 2,
    "seed": 0,
}
HERE = {**GRID, "batches": [1], "processes": 1}
LIMITS = overhead_pairs.Limits(1, 1, 0, 1000)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A small model in two processes."""
    out = tmp_path_factory.mktemp("overhead")
    overhead.run(out, **GRID)
    return read_records(out / "records.jsonl")


class Inline:
    """In place of a pool of processes: runs in this one."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def submit(self, call, *args):
        done = Future()
        try:
            done.set_result(call(*args))
        except Exception as error:
            done.set_exception(error)
        return done


@pytest.fixture
def here(monkeypatch):
    """No process is started."""
    monkeypatch.setattr(overhead, "ProcessPoolExecutor", Inline)


def test_every_comparison_has_one_record(records):
    found = [
        (r.labels["batch"], r.labels["error"], r.labels["baseline"])
        for r in records
        if r.metric == "overhead"
    ]
    wanted = {(2, "none", baseline) for baseline in BASELINES}
    wanted |= {(2, e, b) for e in ("block", "row", "column") for b in ("error-free", "fastest eager")}
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


def test_what_was_not_run_has_a_record_that_says_why(tmp_path, here):
    overhead.run(tmp_path, **{**HERE, "limit_s": 0})
    records = read_records(tmp_path / "records.jsonl")
    assert {(r.labels["error"], r.labels["baseline"]) for r in records} == {("none", b) for b in BASELINES}
    assert all(r.value is None and r.interval is None for r in records)
    assert all(r.message.startswith("would take about") for r in records)

    job = overhead_pairs.Job("cnn", 2, 16, ("fastest eager", "compiled"), (), compile=False, schemes=("one",))
    series = overhead_pairs.measure(job, LIMITS, 0)
    left_out = [s for s in series if s.reason]
    assert {s.labels["baseline"] for s in left_out if s.metric == "overhead"} == {"compiled"}
    schemes = {s.labels["scheme"] for s in left_out if s.metric == "scheme_time"}
    assert schemes == {"CoC", "RC", "ClC", "FC", "workflow"}
    assert not any(s.ratios.size for s in left_out)


def test_a_cell_that_fails_leaves_the_others_alone(tmp_path, here):
    overhead.run(tmp_path, **{**HERE, "models": ["nobody", "cnn"]})
    records = read_records(tmp_path / "records.jsonl")
    failed = [r for r in records if r.labels["model"] == "nobody"]
    assert len(failed) == len(BASELINES)
    assert all(r.value is None and r.status == "failed" and "nobody" in r.message for r in failed)
    assert all(r.value is not None for r in records if r.labels["model"] == "cnn")


def test_finished_cells_are_not_measured_again(tmp_path, here, monkeypatch):
    overhead.run(tmp_path, **HERE)
    first = read_records(tmp_path / "records.jsonl")
    monkeypatch.setattr(overhead, "ProcessPoolExecutor", None)
    overhead.run(tmp_path, **HERE)
    again = read_records(tmp_path / "records.jsonl")
    assert [(r.value, r.labels) for r in again] == [(r.value, r.labels) for r in first]
    with pytest.raises(TypeError):  # other pairs are another cell
        overhead.run(tmp_path, **{**HERE, "pairs": 5})


def test_rounds_stop_at_the_budget_but_not_before_the_least():
    calls = {"a": lambda: sleep(0.002), "b": lambda: None}
    times = time_rounds(calls, least=3, most=50, budget_s=0)
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert times["a"].min() >= 2 > times["b"].min()
    assert len(time_rounds(calls, least=1, most=4, budget_s=60)["b"]) == 4


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
    assert all(r.labels["baseline_ms"] > 0 and r.labels["ms"] > 0 for r in records if r.metric == "overhead")


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
        overhead_pairs.measure(job, LIMITS, 0)


class Wrong(nn.Module):
    """Twice the answer."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 2 * self.model(x)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_errors_strike_every_layer_in_turn_on_the_path_that_computes(fuse, pattern):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    protected, x = protect(model.eval(), fuse=fuse, plan=None), torch.randn(2, 2, 6, 6)
    quiet = forward(protected, x)
    clean = [quiet() for _ in range(3)][-1]
    call = struck(protected, quiet, pattern, 0)
    for _ in range(4):
        assert torch.allclose(call(), clean, atol=1e-4)
    assert sorted(event.layer for event in protected.events) == ["0", "0", "3", "3"]
    assert all(event.corrected for event in protected.events)
    protected.clear_events()
    assert torch.equal(quiet(), clean)
    assert not protected.events


def test_a_struck_layer_stays_on_the_fast_path():
    if native.load() is None:
        pytest.skip("the native core is not there")
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3)).eval()
    protected, x = protect(model, plan=None), torch.randn(2, 2, 6, 6)
    quiet = forward(protected, x)
    quiet()
    quiet()
    by_module = []
    for layer in protected.layers():
        site = layer.fault_site
        site.forward = lambda *a, site=site: by_module.append(1) or type(site).forward(site, *a)
    struck(protected, quiet, "block", 0)()
    assert len(protected.events) == 1
    assert not by_module

"""Programs compile-c and time-binary, and the workflow that tunes a C program which knows nothing of it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from holdfast.core.errors import StepError
from holdfast.core.result import read_records
from holdfast.hub import find, run, tune
from holdfast.hub.deploy import deploy
from holdfast.hub.picking import pick
from holdfast.hub.reduction import not_worse, reduce
from holdfast.programs.compile_c import features
from holdfast.programs.time_binary import run as time_binary
from holdfast.programs.time_binary import same

KERNELS = ("crc", "dot", "histogram", "matmul", "nbody", "sieve", "sort", "stencil")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def test_features_of_assembly():
    text = "main:\n\tmovsd\t8(%rax), %xmm0\n\taddsd\t%xmm1, %xmm0\n\tcall\tsqrt\n\tjne\t.L2\n\t.size main\n"
    found = features(text)
    assert found["instructions"] == 4
    assert found["memory"] == 0.25
    assert (found["calls"], found["branches"], found["floating"]) == (0.25, 0.25, 0.25)
    assert features("")["branches"] == 0


@pytest.mark.parametrize(
    ("text", "tolerance", "fits"),
    [
        ("sum 1.0\n", 0, True),
        ("sum 1.0000001\n", 0, False),
        ("sum 1.0000001\n", 1e-6, True),
        ("sum 1.1\n", 1e-6, False),
        ("total 1.0\n", 1, False),
        ("sum 1.0 2.0\n", 1, False),
    ],
)
def test_same_output(text, tolerance, fits):
    assert same(text, "sum 1.0\n", tolerance) is fits


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    return path


OPTIONS = {"arguments": "7", "repeats": 2, "warmup": 0, "tolerance": 0, "timeout_s": 5}


def test_time_is_only_taken_of_right_results(tmp_path):
    right, wrong = script(tmp_path / "a", "echo sum $1"), script(tmp_path / "b", "echo sum 8")
    time_binary(tmp_path, binary=right, reference=right, **OPTIONS)
    record = read_records(tmp_path / "records.jsonl")[0]
    assert (record.metric, record.n, record.timed) == ("wall_time", 2, True)
    with pytest.raises(StepError, match="wrong result"):
        time_binary(tmp_path, binary=wrong, reference=right, **OPTIONS)
    with pytest.raises(StepError, match="ended with 3"):
        time_binary(tmp_path, binary=script(tmp_path / "c", "exit 3"), reference=None, **OPTIONS)
    slow = {**OPTIONS, "timeout_s": 0.05}
    with pytest.raises(StepError, match="took longer"):
        time_binary(tmp_path, binary=script(tmp_path / "d", "sleep 5"), reference=None, **slow)


def test_the_kernels_know_nothing_of_holdfast():
    folder = find("workflow:compiler-flags").folder / "kernels"
    assert sorted(path.stem for path in folder.glob("*.c")) == list(KERNELS)
    assert not any("holdfast" in path.read_text().lower() for path in folder.glob("*.c"))


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))


@pytest.mark.slow
@needs_gcc
def test_flags_are_tuned_deployed_and_reduced(own_home, tmp_path):
    inputs = {"arguments": "128 20", "repeats": 3}
    goals = {"wall_time": "lower", "binary_size": "lower"}
    study = tune("workflow:compiler-flags", goals, inputs=inputs, trials=10, sampler="random", seed=0)
    # Fused or reordered arithmetic gives other digits: a wrong result, a failed trial.
    wrong = [trial for trial in study.trials if trial.error and "wrong result" in trial.error]
    loose = [t for t in study.trials if t.choices["build.fast_math"] or t.choices["build.contract"]]
    assert wrong
    assert {trial.number for trial in wrong} <= {trial.number for trial in loose}
    picked = study.trials[
        pick("best:wall_time", [t.values for t in study.trials], goals, study.front.indices)
    ]
    records = [r for r in study.experiment.records if r.labels["trial"] == picked.number]
    bundle = deploy(records, tmp_path / "bundle", rule="best:wall_time")
    done = subprocess.run(
        ["python3", str(bundle / "run.py"), "64", "3"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.startswith("checksum ")

    plain = {"build.level": "-O0", **{name: False for name in picked.choices if name != "build.level"}}
    plain |= {"build.arch": "", "build.inline": True, "build.strict_aliasing": True}
    point = {**plain, "build.level": "-O2", "build.unroll": True, "build.link_time": True}

    def measure(choices):
        found = run("workflow:compiler-flags", {**inputs, "arguments": "512 40", **choices}, force=True)
        return next(r.value for r in found.records if r.metric == "wall_time")

    found = reduce(point, plain, not_worse(measure, point, margin=0.5, least=3, most=5))
    assert set(found.kept) == {"build.level"}

"""Models side by side: measured by small programs on digits, and told in words from made-up records."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from holdfast import models
from holdfast.bench import Evaluation
from holdfast.core.errors import UsageError
from holdfast.core.result import Interval, Record, read_records, write_records
from holdfast.hub import repository
from holdfast.programs import (
    bench,
    calibrate,
    comparison,
    comparison_cost,
    comparison_harm,
    curves,
    ensemble,
    model_files,
    protect,
)
from holdfast.programs.differences import answers_of, from_the_best
from holdfast.programs.model_files import ModelFile
from holdfast.programs.standard_stress import detector_stress

SMALL = {"data": "digits", "limit": 90}
HARM = [
    {"name": "gaussian_noise", "sigma_relative": 0.1},
    {"name": "gaussian_noise", "sigma_relative": 0.5},
    {"name": "dead_channels", "rate": 0.2},
]


def defaults(program, /, **given):
    """The inputs of a program as its component declares them."""
    inputs = repository.find(f"program:{program}").meta.inputs
    return {key: given.get(key, declared.default) for key, declared in inputs.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two untrained models of digits, and one that stands for the first retrained."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    common = {"in_channels": 1, "classes": 10, "size": 8}
    made = []
    for name, kind, options in (
        ("cnn", "cnn", {"width": 0.25}),
        ("vit", "vit", {"patch": 4, "dim": 8, "heads": 2, "depth": 1, "mlp": 8}),
        ("cnn-again", "cnn", {"width": 0.25}),
    ):
        made.append(folder / f"{name}.safetensors")
        model_files.save(models.create(kind, **common, **options), made[-1], name)
    return made


def test_from_models_to_a_page(files, tmp_path):
    for name, program, given in (
        ("curves", curves, {"models": files, "stressors": HARM, "retrained": {"cnn-again": "cnn"}}),
        ("bench", bench, {"models": files, "batches": [1], "repeats": 5}),
        ("calibrate", calibrate, {"model": files[0], "bins": 5}),
    ):
        (tmp_path / name).mkdir()
        given |= {"workers": 1, "batch_size": 32} if name == "curves" else {}
        program.run(tmp_path / name, **defaults(name, **SMALL, **given))
    harmed = read_records(tmp_path / "curves" / "records.jsonl")
    pairs = {(r.labels["model"], r.labels["against"]) for r in harmed if "against" in r.labels}
    assert pairs == {("cnn", "vit"), ("cnn", "cnn-again"), ("vit", "cnn-again")}
    noise = [r for r in harmed if r.metric == "accuracy" and r.labels.get("sigma_relative") == 0.5]
    assert {(r.labels["model"], r.labels["base"], r.labels["retrained"]) for r in noise} == {
        ("cnn", "cnn", False), ("vit", "vit", False), ("cnn-again", "cnn", True)
    }  # fmt: skip
    assert {r.n for r in noise} == {90}
    assert ModelFile.open(tmp_path / "calibrate" / "model.safetensors").name == "cnn-calibrated"
    paths = [tmp_path / name / "records.jsonl" for name in ("bench", "curves", "calibrate")]
    comparison.run(tmp_path, title="Both", records=paths)
    html = (tmp_path / "report.html").read_text()
    for wanted in ("Quality and cost", "Robustness", "Calibration", "Dead channels", "On the front", "<svg"):
        assert wanted in html
    assert "Gaussian noise in GeV" not in html


def test_curves_go_on_where_they_were_killed(files, tmp_path):
    given = defaults("curves", **SMALL, models=files[:2], stressors=HARM, workers=1, batch_size=32)
    curves.run(tmp_path, **given)
    before = read_records(tmp_path / "records.jsonl")
    trials = tmp_path / "vit" / "trials.jsonl"
    lines = trials.read_text().splitlines(keepends=True)
    trials.write_text("".join(lines[:3]))
    curves.run(tmp_path, **given)
    again = read_records(tmp_path / "records.jsonl")
    assert [r.stable() for r in again] == [r.stable() for r in before]


@pytest.mark.parametrize("how", ["mean", "weighted", "stacked"])
def test_an_ensemble_of_files_is_a_file(files, tmp_path, how):
    ensemble.run(tmp_path, **defaults("ensemble", **SMALL, models=files[:2], how=how))
    file = ModelFile.open(tmp_path / "model.safetensors")
    assert file.labels == {"model": f"ensemble-{how}", "protection": "plain"}
    assert file.load()(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    found = read_records(tmp_path / "records.jsonl")
    weights = [r.value for r in found if r.metric == "ensemble_weight"]
    assert sum(weights) == pytest.approx(1 if how == "weighted" else 0, abs=1e-6)


def test_models_of_another_preparation_are_not_joined(files, tmp_path):
    other = tmp_path / "other.safetensors"
    models.save(models.load(files[1]), other, {"name": "other", "data": {"transform": [{"name": "crop"}]}})
    with pytest.raises(UsageError, match="same data and transform"):
        ensemble.run(tmp_path, **defaults("ensemble", **SMALL, models=[files[0], other]))
    assert not (tmp_path / "model.safetensors").exists()
    calibrate.run(tmp_path, **defaults("calibrate", **SMALL, model=other, bins=5))
    assert models.read_meta(tmp_path / "model.safetensors")["data"] == {"transform": [{"name": "crop"}]}


def test_bad_input(files, tmp_path):
    common = defaults("curves", **SMALL, models=files[:2], stressors=HARM)
    with pytest.raises(UsageError, match="a name each"):
        curves.run(tmp_path, **{**common, "models": [files[0], files[0]]})
    with pytest.raises(UsageError, match="retrained"):
        curves.run(tmp_path, **{**common, "retrained": {"cnn": "nobody"}})
    protect.run(tmp_path, **defaults("protect", model=files[0]))
    with pytest.raises(UsageError, match="plain model"):
        calibrate.run(tmp_path, **defaults("calibrate", **SMALL, model=tmp_path / "model.safetensors"))
    (tmp_path / "stack").mkdir()
    ensemble.run(tmp_path / "stack", **defaults("ensemble", **SMALL, models=files[:2], how="stacked"))
    stacked = tmp_path / "stack" / "model.safetensors"
    with pytest.raises(UsageError, match="stacked ensemble"):
        calibrate.run(tmp_path, **defaults("calibrate", **SMALL, model=stacked))
    with pytest.raises(UsageError, match="device"):
        bench.run(tmp_path, **defaults("bench", **SMALL, models=files, device="tpu"))


def test_the_ladder_of_a_detector():
    with_units, without = detector_stress((50.0, None), 32), detector_stress(None, 125)
    assert {"name": "gaussian_noise", "sigma_input": 0.1} in with_units
    assert any("sigma_gev" in each for each in with_units)
    assert not any("sigma_gev" in each for each in without)
    assert {each["patch"] for each in without if "patch" in each} == {15}


def record(metric, value, half, **labels):
    interval = Interval(low=value - half, high=value + half, method="delong")
    labels = {"protection": "plain", **labels}
    return Record(
        metric=metric, value=value, unit="1", direction="higher", n=9, interval=interval, labels=labels
    )


def harmed(points):
    """Records of models a and b at (sigma in GeV, AUC of a, AUC of b), intervals ±0.02, differences ±0.01."""
    found = []
    for sigma, a, b in points:
        about = {"stressor": "gaussian_noise", "sigma_gev": sigma}
        found += [record("auc", value, 0.02, model=name, **about) for name, value in (("a", a), ("b", b))]
        found.append(record("auc_difference", a - b, 0.01, model="a", against="b", **about))
    return found


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (
            [(0.1, 0.8, 0.75), (0.5, 0.7, 0.695), (1, 0.6, 0.63), (2, 0.51, 0.49)],
            "a is better than b beyond chance at 0.1 GeV (by 0.0500 [0.0400, 0.0600]); b is better than a "
            "beyond chance at 1 GeV (by 0.0300 [0.0200, 0.0400]); no difference beyond chance at 0.5 GeV; "
            "both a and b are at chance at 2 GeV.",
        ),
        (
            [(0.1, 0.7, 0.8), (0.5, 0.6, 0.75), (1, 0.6, 0.7)],
            "b is better than a beyond chance at every strength from 0.1 GeV to 1 GeV (most at 0.5 GeV: by "
            "0.1500 [0.1400, 0.1600]).",
        ),
        ([(2, 0.51, 0.48)], "Both a and b are at chance at 2 GeV."),
        ([(2, 0.71, 0.711)], "No difference between a and b beyond chance at 2 GeV."),
        ([], ""),
    ],
    ids=["all", "everywhere", "chance", "none", "nothing measured"],
)
def test_harm_in_words(points, says):
    told = comparison_harm.in_words(harmed(points), comparison_harm.FAMILIES[0], "auc", "a", "b")
    assert told == says


def test_harm_in_words_the_other_way_round():
    told = comparison_harm.in_words(harmed([(1, 0.6, 0.63)]), comparison_harm.FAMILIES[0], "auc", "b", "a")
    assert told == "b is better than a beyond chance at 1 GeV (by 0.0300 [0.0200, 0.0400])."


def measured(**models_):
    """Records of models by name: (AUC, difference from the best or None, FLOP)."""
    found = []
    for name, (auc, gap, flops) in models_.items():
        found.append(record("auc", auc, 0.01, model=name, split="test"))
        found.append(
            Record(
                metric="flops",
                value=flops,
                unit="FLOP",
                direction="lower",
                labels={"model": name, "protection": "plain"},
            )
        )
        if gap is not None:
            found.append(record("auc_difference", gap, 0.005, model=name, against="best", split="test"))
    return found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"best": (0.82, None, 4e6), "small": (0.817, -0.003, 1e6), "poor": (0.7, -0.12, 1e5)},
            "On the front: poor (0.1 MFLOP), small (1 MFLOP), best (4 MFLOP). Choose small: at 0.25 of the "
            "cost of best, which has the highest AUC, it is not behind it beyond chance "
            "(-0.0030 [-0.0080, +0.0020]).",
        ),
        (
            {"best": (0.82, None, 4e6), "small": (0.8, -0.02, 1e6)},
            "On the front: small (1 MFLOP), best (4 MFLOP). Choose best for its AUC: every cheaper model is "
            "behind it beyond chance. The closest of them, small, costs 0.25 of it and is behind by "
            "-0.0200 [-0.0250, -0.0150].",
        ),
        (
            {"best": (0.82, None, 1e6), "large": (0.81, -0.01, 4e6)},
            "On the front: best (1 MFLOP). Choose best: it has the highest AUC, and no model costs less.",
        ),
    ],
    ids=["cheaper and level", "cheaper but behind", "best and cheapest"],
)
def test_the_choice_in_words(given, says, tmp_path):
    records = measured(**given)
    section = comparison_cost.section(records)
    assert section is not None
    assert section["sentences"] == [f"FLOPs. {says}"]
    assert len(section["figures"]) == 1


def test_one_model_or_none_is_no_comparison(tmp_path):
    write_records(tmp_path / "r.jsonl", measured(best=(0.8, None, 1e6)))
    comparison.run(tmp_path, title="Alone", records=[tmp_path / "r.jsonl"])
    assert "Nothing was measured that could be compared" in (tmp_path / "report.html").read_text()


def test_two_classes_are_compared_by_auc_with_the_best():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    noise = rng.normal(0, 1, 400)
    answers = {}
    for name, size in (("good", 1.0), ("poor", 3.0), ("same", 1.0)):
        logits = np.stack([np.zeros(400), labels + size * noise], 1).astype(np.float32)
        answers[name] = answers_of(Evaluation(logits, labels))
    common = {"seed": 0, "simulated": True, "unit": "1", "direction": "higher"}
    found = from_the_best(answers, {"split": "test"}, common)
    told = {r.labels["model"]: r for r in found}
    assert set(told) == {"poor", "same"}
    assert all(r.metric == "auc_difference" and r.labels["against"] == "good" for r in found)
    assert told["same"].value == 0
    assert told["poor"].interval.high < 0

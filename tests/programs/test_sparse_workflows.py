"""The workflows around subnetworks, small, but every step of them."""

import pytest

from holdfast.core.result import read_records

SHORT = {"eps": 0.1, "images": 20, "limit": 600, "options": '{"width": 0.5}', "data": "digits", "epochs": 1}


def words(inputs):
    return [word for key, value in inputs.items() for word in (f"--{key.replace('_', '-')}", value)]


@pytest.mark.slow
def test_a_subnetwork_beside_the_dense_cnn_is_protected_and_stressed(make_runner):
    runner = make_runner()
    run = runner(
        "run", "workflow:egamma-sparse", f"@{runner.inputs}", "--search-epochs", "1", "--out", "out", "--json"
    )
    assert {step["status"] for step in run["steps"] if step["id"] != "simulate"} == {"ran"}
    records = read_records(runner.folder / "out" / "records.jsonl")
    kept = {r.labels["model"]: r.value for r in records if r.metric == "kept_weights"}
    assert kept["cnn-sparse"] > 0
    measured = {(r.metric, r.labels["model"], r.labels["protection"]) for r in records if "model" in r.labels}
    assert ("latency_ratio", "cnn-sparse", "compiled") in measured
    for protection in ("plain", "protected"):
        assert {
            ("critical_sdc_rate", "cnn-sparse", protection),
            ("accuracy", "cnn-sparse", protection),
        } <= measured


@pytest.mark.slow
def test_small_dense_networks_take_no_more_bytes_than_the_packed_ones(make_runner):
    runner = make_runner()
    given = {**SHORT, "all_images": "true"}
    runner("run", "workflow:robust-table", *words(given), "--out", "out", "--json")
    records = read_records(runner.folder / "out" / "records.jsonl")
    kept = {r.labels["model"]: r for r in records if r.metric == "kept_weights"}
    for tag in ("sparse99", "sparse90"):
        packed = (runner.folder / "out" / f"{tag}.packed").stat().st_size
        assert 4 * kept[f"dense-as-{tag}"].n <= packed
    attacked = {
        r.labels["model"]: r.n
        for r in records
        if r.metric == "robust_accuracy" and r.labels["attack"] == "autoattack"
    }
    assert set(attacked) == {"sparse99", "sparse90", "dense", "dense-as-sparse99", "dense-as-sparse90"}
    whole = {r.labels["model"]: r.n for r in records if r.metric == "accuracy"}
    assert set(whole) == set(attacked)
    assert set(whole.values()) == {attacked["sparse99"]}  # all test images, as all_images attacks them

"""From a random network to a packed one that is judged, protected and stressed: program by program."""

import pytest
import torch

from holdfast import data as sets
from holdfast import load_packed, subnet
from holdfast.core.errors import UsageError
from holdfast.core.result import read_records
from holdfast.hub import repository
from holdfast.programs import baseline, bench, pack, plan, protect, prune, robustness, stress
from holdfast.programs.model_files import ModelFile

SMALL = {"options": {"width": 0.5}, "epochs": 1, "limit": 200, "judged": 20, "batch_size": 32, "eps": 0.1}


def defaults(program, /, **given):
    """The inputs of a program as its component declares them."""
    inputs = repository.find(f"program:{program}").meta.inputs
    return {key: given.get(key, declared.default) for key, declared in inputs.items()}


def values(folder):
    return {record.metric: record.value for record in read_records(folder / "records.jsonl")}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """What program:prune leaves of a small conv net on digits."""
    out = tmp_path_factory.mktemp("pruned")
    given = {"model": "convnet", "data": "digits", "prune_rate": 0.97, "name": "tiny", "attack": "n_fgsm"}
    prune.run(out, **defaults("prune", **SMALL, **given))
    return out


def test_prune_leaves_a_subnetwork_a_packed_network_and_their_records(pruned):
    found, packed = (
        subnet.Subnetwork.load(pruned / "subnetwork.safetensors"),
        load_packed(pruned / "network.packed"),
    )
    assert found.config == packed.config
    assert found.pack(meta={"name": "tiny"})._bytes == (pruned / "network.packed").read_bytes()
    told = values(pruned)
    assert told["file_size"] == (pruned / "network.packed").stat().st_size
    assert told["kept_weights"] == packed.kept
    assert 0 <= told["robust_accuracy"] <= told["clean_accuracy"] <= 1
    record = next(r for r in read_records(pruned / "records.jsonl") if r.metric == "robust_accuracy")
    assert record.n == 20
    assert record.labels == {
        "attack": "pgd", "eps": 0.1, "steps": 20, "model": "tiny", "protection": "plain", "split": "val"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["subnetwork.safetensors", "network.packed"])
def test_every_format_opens_as_the_same_plain_model(pruned, tmp_path, name):
    file = ModelFile.open(pruned / name)
    assert file.labels == {"model": "tiny", "protection": "plain"}
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        # The statistics of the packed file are rounded to float16.
        truth = load_packed(pruned / "network.packed").to_module()(x)
        torch.testing.assert_close(file.load()(x), truth, rtol=0.01, atol=0.01)
        protected = tmp_path / "protected"
        protected.mkdir()
        protect.run(protected, **defaults("protect", model=pruned / name))
        again = ModelFile.open(protected / "model.safetensors")
        assert again.labels == {"model": "tiny", "protection": "protected"}
        torch.testing.assert_close(again.load()(x), truth, rtol=0.01, atol=0.01)


def test_a_packed_network_is_planned_stressed_and_measured(pruned, tmp_path):
    model = pruned / "network.packed"
    for program, name, given in (
        (stress, "stress", {"models": [model], "data": "digits", "workers": 1, "trials": 2, "limit": 64,
                            "stressors": [{"name": "bit_flips", "site": "weight"}]}),
        (bench, "bench", {"models": [model], "data": "digits", "batches": [1], "repeats": 5, "limit": 50}),
        (plan, "plan", {"model": model}),
    ):  # fmt: skip
        out = tmp_path / name
        out.mkdir()
        program.run(out, **defaults(name, **given))
        assert all(record.labels["model"] == "tiny" for record in read_records(out / "records.jsonl"))


@pytest.mark.parametrize("explicit", [False, True])
def test_pack(pruned, tmp_path, explicit):
    given = {"subnetwork": pruned / "subnetwork.safetensors", "explicit_signs": explicit}
    pack.run(tmp_path, **defaults("pack", **given))
    packed = load_packed(tmp_path / "network.packed")
    assert (packed.seed is None) == explicit
    assert values(tmp_path)["file_size"] == packed.nbytes
    assert ModelFile.open(tmp_path / "network.packed").name == "tiny"


def test_without_its_dead_channels_it_is_smaller_and_answers_alike(pruned, tmp_path):
    given = {"subnetwork": pruned / "subnetwork.safetensors", "drop_dead_channels": True}
    pack.run(tmp_path, **defaults("pack", **given))
    file, x = ModelFile.open(tmp_path / "network.packed"), torch.rand(3, 1, 8, 8)
    assert values(tmp_path)["file_size"] < values(pruned)["file_size"]
    with torch.no_grad():
        truth = load_packed(pruned / "network.packed").to_module()(x)
        torch.testing.assert_close(file.load()(x), truth, rtol=1e-4, atol=1e-4)
    given = {"model": file.path, "data": "digits", "attack": "fgsm", "images": 20}
    robustness.run(tmp_path, **defaults("robustness", **given))
    with pytest.raises(UsageError, match="dead channels"):
        protect.run(tmp_path, **defaults("protect", model=file.path))


def test_robustness_replays_a_packed_network_on_its_compiled_form(pruned, tmp_path):
    options = {"steps": 3, "restarts": 2}
    given = {
        "data": "digits",
        "attack": "pgd",
        "options": options,
        "eps": 0.1,
        "images": 30,
        "batch_size": 16,
    }
    robustness.run(tmp_path, **defaults("robustness", model=pruned / "network.packed", **given))
    told = values(tmp_path)
    assert told["replayed_robust_accuracy"] == pytest.approx(told["robust_accuracy"], abs=1 / 30)
    assert told["replay_disagreements"] <= 1
    lines = (tmp_path / "evaluation" / "images.jsonl").read_text().splitlines()
    assert len(lines) == 30
    before = (tmp_path / "evaluation" / "images.jsonl").read_bytes()
    robustness.run(tmp_path, **defaults("robustness", model=pruned / "network.packed", **given))
    assert (tmp_path / "evaluation" / "images.jsonl").read_bytes() == before


def test_a_baseline_is_a_plain_model_that_robustness_takes(tmp_path):
    given = {"method": "at", "model": "convnet", "data": "digits", "weights": "binary", "attack": "fgsm_rs"}
    baseline.run(tmp_path, **defaults("baseline", **SMALL, **given))
    file = ModelFile.open(tmp_path / "model.safetensors")
    assert file.name == "at-convnet"
    assert file.data == sets.open("digits", split="test").info.for_model_file()
    weight = file.load().classifier.weight
    assert len(weight.abs().unique()) == 1
    record = next(r for r in read_records(tmp_path / "records.jsonl") if r.metric == "kept_weights")
    assert record.value == record.n
    out = tmp_path / "judged-again"
    out.mkdir()
    given = {"model": tmp_path / "model.safetensors", "data": "digits", "attack": "fgsm", "images": 20}
    robustness.run(out, **defaults("robustness", **given))
    assert "replayed_robust_accuracy" not in values(out)


def test_a_layer_without_a_norm_is_named(tmp_path):
    given = {"model": "convnet", "data": "digits", "prune_rate": 0.5, "last_norm": False}
    with pytest.warns(UserWarning, match="no normalisation follows layer classifier"):
        prune.run(tmp_path, **defaults("prune", **SMALL, **given))
    record = next(r for r in read_records(tmp_path / "records.jsonl") if r.metric == "layers_without_norm")
    assert record.labels["layers"] == "classifier"


@pytest.mark.slow
def test_the_verbs(make_runner):
    runner = make_runner()
    words = "prune convnet --data digits --limit 100 --epochs 1 --judged 10 --prune-rate 0.5 --eps 0.1"
    assert runner(*words.split(), "--out", "pruned", "--json")["out"] == "pruned"
    runner("pack", "pruned/subnetwork.safetensors", "--explicit-signs", "true", "--out", "packed", "--json")
    assert load_packed(runner.folder / "packed" / "network.packed").seed is None

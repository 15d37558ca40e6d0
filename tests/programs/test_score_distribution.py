"""Scores of several sources side by side: what is fed to the model, and what is said of the difference."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.core.result import read_records
from holdfast.core.stats import roc_auc
from holdfast.data.readers import open_reader
from holdfast.programs import score_distribution, score_page
from holdfast.programs.model_files import ModelFile
from holdfast.programs.model_input import input_pipeline
from holdfast.programs.score_distribution import Source, comparisons

ENERGY = {"transform": None, "channels": ["energy"], "units": ["50 GeV"], "classes": ["photon", "electron"]}
SETTINGS = {"channels": "energy", "units": "50 GeV", "limit": None, "batch_size": 16}


def save_model(folder, channels, data):
    """A small CNN for images (channels, 32, 32) that says it was trained on ``data``."""
    torch.manual_seed(0)
    network = models.create("cnn", in_channels=channels, classes=2, size=32).eval()
    path = folder / "model.safetensors"
    models.save(network, path, {"name": "small", "protection": None, "data": data})
    return path


@pytest.fixture
def files(tmp_path):
    """Two-channel events in the ML4SCI layout, simulated, and the energies of other ones as an archive."""
    rng = np.random.default_rng(0)
    images = (rng.exponential(0.1, (60, 32, 32, 2)) * (rng.random((60, 32, 32, 2)) < 0.1)).astype(np.float32)
    y = np.arange(60) % 2
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        file["X"], file["y"] = images[:40], y[:40].astype(np.float32)
        file.attrs["simulated"] = True
    np.savez(tmp_path / "energy.npz", X=images[40:, ..., 0], y=y[40:])
    return tmp_path, images, y


def told(path, unit="50 GeV"):
    return open_reader(path, channels=["energy"], units=[unit])


def test_a_one_channel_model_reads_energy_from_files_with_one_channel_or_two(files):
    folder, images, y = files
    path = save_model(folder, 1, ENERGY)
    out = folder / "out"
    out.mkdir()
    sources = [folder / "two.hdf5", folder / "energy.npz"]
    score_distribution.run(out, model=path, sources=sources, **SETTINGS)

    network = models.load(path).eval()
    with torch.inference_mode():
        logits = network(torch.from_numpy(images[:, None, :, :, 0])).double().numpy()
    expected = logits[:, 1] - logits[:, 0]
    scores = np.load(out / "scores.npz")
    assert np.allclose(scores["two.hdf5/scores"], expected[:40], atol=1e-5)
    assert np.allclose(scores["energy.npz/scores"], expected[40:], atol=1e-5)
    assert np.array_equal(scores["energy.npz/labels"], y[40:])

    found = {
        (r.metric, r.labels.get("source"), r.labels.get("class")): r
        for r in read_records(out / "records.jsonl")
    }
    auc, interval = roc_auc(
        np.repeat([0, 1], [20, 10]), np.concatenate([expected[:40][y[:40] == 1], expected[40:][y[40:] == 1]])
    )
    record = found["two_sample_auc", "energy.npz", "electron"]
    assert record.value == pytest.approx(auc, abs=1e-9)
    assert record.interval.high == pytest.approx(interval.high, abs=1e-9)
    assert found["auc", "two.hdf5", None].simulated
    assert not found["auc", "energy.npz", None].simulated
    page = (out / "scores.html").read_text()
    assert "two.hdf5 (simulated)" in page
    assert "energy.npz (simulated)" not in page
    assert "Class electron" in page
    assert "<svg" in page


def test_energies_in_other_units_are_brought_to_the_models(files):
    folder, images, _ = files
    file = ModelFile.open(save_model(folder, 1, ENERGY))
    np.savez(folder / "gev.npz", X=images[..., 0] * 50)
    pipeline = input_pipeline(file, told(folder / "gev.npz", "GeV"))
    assert np.allclose(pipeline.apply(images[:3, None, :, :, 0] * 50), images[:3, None, :, :, 0], rtol=1e-6)
    with pytest.raises(UsageError, match="name it with --units"):
        input_pipeline(file, open_reader(folder / "gev.npz", channels=["energy"]))


def test_the_models_transform_is_applied(files):
    folder, images, _ = files
    steps = [{"name": "channels", "keep": [0]}, {"name": "compress", "how": "sqrt"}]
    data = {"transform": steps, "channels": ["energy"], "units": None, "classes": ["photon", "electron"]}
    file = ModelFile.open(save_model(folder, 1, data))
    for name, shown in (("two.hdf5", np.moveaxis(images, -1, 1)), ("energy.npz", images[:, None, :, :, 0])):
        pipeline = input_pipeline(
            file, told(folder / name) if name == "energy.npz" else open_reader(folder / name)
        )
        assert np.allclose(pipeline.apply(shown), np.sqrt(images[:, None, :, :, 0]), rtol=1e-6)


@pytest.mark.parametrize("names", [["energy", "time"], None], ids=["named", "not named"])
def test_a_model_of_energy_and_time_refuses_energy_alone(files, names):
    folder, *_ = files
    data = {**ENERGY, "channels": names, "units": None}
    file = ModelFile.open(save_model(folder, 2, data))
    assert input_pipeline(file, open_reader(folder / "two.hdf5")).steps == ()
    with pytest.raises(UsageError, match="take a model of the channels that it has"):
        input_pipeline(file, told(folder / "energy.npz"))


def test_sources_of_one_distribution_do_not_differ_and_shifted_ones_do():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    same, other, shifted = (
        Source(n, rng.normal(s, 1, 400), labels, True) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    tests = {(test.name, test.label): test for test in comparisons([same, other, shifted])}
    assert not tests["b", None].differ
    assert tests["c", 0].differ
    assert tests["c", 1].auc == pytest.approx(0.76, abs=0.06)
    assert tests["c", None].p < 1e-9
    classes = ["photon", "electron"]
    said = score_page.sentence([same, other, shifted], tests["b", None], classes)
    assert "no difference seen" in said
    assert "excluded at 95 %" in said
    wide = Source("d", rng.normal(0, 3, 400), labels, True)
    (_, _, test) = comparisons([same, wide])
    assert "differ in shape" in score_page.sentence([same, wide], test, classes)
    assert "differ; those of the first are higher" in score_page.sentence(
        [same, other, shifted], tests["c", 1], classes
    )


def test_shares_add_up_to_one_and_few_events_are_not_compared():
    labels = np.repeat([0, 1], [30, 5])
    found = [Source(name, np.linspace(-1, 1, 35), labels, False) for name in ("a", "b")]
    rows = score_page.score_rows(found, ["photon", "electron"])
    total = sum(row["value"] for row in rows if row["series"] == "a" and row["class"] == "photon")
    assert total == pytest.approx(1)
    assert {test.label for test in comparisons(found)} == {0, None}


def test_one_source_is_not_enough(files):
    folder, *_ = files
    path = save_model(folder, 1, ENERGY)
    with pytest.raises(UsageError, match="two or more"):
        score_distribution.run(folder, model=path, sources=[folder / "two.hdf5"], **SETTINGS)
    with pytest.raises(UsageError, match="different names"):
        score_distribution.run(folder, model=path, sources=[folder / "two.hdf5"] * 2, **SETTINGS)

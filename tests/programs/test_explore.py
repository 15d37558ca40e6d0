"""The exploratory page, its summary and its records, of the files a user has."""

from __future__ import annotations

import base64
import json
from io import BytesIO

import h5py
import numpy as np
import pytest
from PIL import Image

from holdfast.core.errors import DataError
from holdfast.core.result import read_records
from holdfast.data.statistics import Spectrum
from holdfast.programs import explore, explore_charts

SETTINGS = {"on_corrupt": "stop", "image": None, "channels": "energy", "units": "50 GeV", "workers": 1}


def electrons_and_photons(folder):
    """Energy images of 30 events a class, electrons wider; one repeated, one with NaN, one negative cell."""
    rng = np.random.default_rng(0)
    images = np.zeros((60, 32, 32), dtype=np.float32)
    y = np.arange(60) % 2
    images[:, 16, 16] = rng.uniform(0.5, 0.9, 60)
    images[:, 16, 20] = y * rng.uniform(0.1, 0.2, 60)
    images[7] = images[3]
    images[8, 0, 0], images[9, 1, 1] = np.nan, -0.25
    np.savez(folder / "energy.npz", X=images, y=y)
    return folder / "energy.npz"


def test_the_page_says_what_is_in_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.programs.charts.svg", lambda chart: "<svg/>")  # drawn in the tests below
    path = electrons_and_photons(tmp_path)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["X"] = np.zeros((0, 8, 8), dtype=np.float32)
    out = tmp_path / "out"
    out.mkdir()
    explore.run(out, files=[path, tmp_path / "empty.h5"], **SETTINGS)
    page = (out / "explore.html").read_text()
    for words in (
        "1 event repeat",
        "1 image with NaN or infinity",
        "1 cell below zero",
        "empty.h5 has no events",
        "Label 1 means electron",
        "energy: phi width is",
        "Mean image, label 1",
        "Its significance, label 1 − label 0",
        "Hottest cell",
    ):
        assert words in page, words
    assert "Simulated data" not in page
    assert "http" not in page

    summary = json.loads((out / "summary.json").read_text())
    (group,) = summary["groups"]
    assert group["shape"] == [1, 32, 32]
    assert group["labels"][0]["label_1_is"] == "electron"
    assert group["classes"]["0"]["events"] == 30
    assert group["classes"]["1"]["cells"]["energy"]["negative"] == 1
    assert summary["duplicates"]["examples"][0]["copy"] == [str(path), 7]
    arrays = np.load(out / "images.npz")
    assert arrays["0/1/mean"].shape == (1, 32, 32)
    assert arrays["0/hottest"].sum() == 60

    records = {(r.metric, *r.labels.values()): r for r in read_records(out / "records.jsonl")}
    assert records["events", "energy.npz", "npz"].value == 60
    assert records["duplicate_copies",].value == 1
    width = records["separation_auc", "1×32×32", "energy: phi width", "label 1", "label 0"]
    assert width.interval is not None
    assert width.value == pytest.approx(1, abs=0.05)


def test_a_spectrum_is_drawn_over_common_bins():
    rng = np.random.default_rng(0)
    found = {"photon": Spectrum(), "electron": Spectrum()}
    found["photon"].add(np.append(rng.exponential(1, 999), 0))
    found["electron"].add(rng.exponential(2, 500))
    rows = explore_charts.spectrum_rows(found, {"photon": 100, "electron": 50}, log=True)
    heights = {name: sum(r["value"] or 0 for r in rows if r["series"] == name) / 2 for name in found}
    assert heights == pytest.approx({"photon": 9.99, "electron": 10}, rel=0.02)
    assert max(r["x"] for r in rows) >= found["electron"].high
    svg = explore_charts.spectra(rows, x_title="energy (GeV)", y_title="cells", log=True)
    assert "energy (GeV)" in svg
    assert "electron" in svg


def test_whole_numbers_have_bins_of_whole_width():
    found = Spectrum()
    found.add(np.arange(200).repeat(3))
    rows = explore_charts.spectrum_rows({"": found}, {"": 600}, log=False)
    assert {round(r["value"], 6) for r in rows[2:-2]} == {4 * 3 / 600}


@pytest.mark.parametrize("kind", ["log", "linear", "diverging"])
def test_a_map_has_a_pixel_a_cell(kind):
    values = np.random.default_rng(0).normal(0, 1, (5, 7))
    values[0, 0] = np.nan
    svg = explore_charts.cells(values, title="GeV", kind=kind)
    encoded = svg.split("data:image/png;base64,")[1].split('"')[0]
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(encoded))))
    assert pixels.shape == (5, 7, 4)
    absent = ~np.isfinite(values) | ((values <= 0) & (kind == "log"))
    assert np.array_equal(pixels[..., 3] == 0, absent)
    red, blue = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    if kind == "diverging":
        assert (red > blue)[values > 0.5].all()
        assert (blue > red)[values < -0.5].all()
    assert "GeV" in svg


def test_a_map_of_one_value_or_none_is_drawn():
    for values in (np.zeros((2, 2)), np.full((2, 2), np.nan)):
        assert "svg" in explore_charts.cells(values, title="", kind="diverging")


def test_a_damaged_file_is_named_and_nothing_is_written(tmp_path):
    good = electrons_and_photons(tmp_path)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(good.read_bytes()[:200])
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match=r"bad\.npz"):
        explore.run(out, files=[good, bad], **SETTINGS)
    assert not list(out.iterdir())

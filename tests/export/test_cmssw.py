"""A package's C++ makes the scores that Python makes."""

from __future__ import annotations

import numpy as np
import pytest
from cmssw_support import EGAMMA, Builder, maps, needs_cxx, network, scores, transformed

from holdfast.abft.onnx import protect_onnx
from holdfast.core.errors import UsageError
from holdfast.export import export_cmssw, to_onnx

ROWS, COLUMNS = 48, 50
CLASSES = {"classes": ["photon", "electron"]}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return Builder(tmp_path_factory.mktemp("stubs"))


@pytest.fixture(scope="module")
def egamma(builder, tmp_path_factory):
    """The model of 32×32 images, and the module that reads maps of 48×50 in GeV."""
    model = network(transformed(EGAMMA, maps(50, 2, ROWS, COLUMNS, seed=2)))
    package = export_cmssw(
        model,
        tmp_path_factory.mktemp("src"),
        package="RecoE2E/HoldfastTagger",
        data={**CLASSES, "transform": EGAMMA},
        rows=ROWS,
        columns=COLUMNS,
    )
    return model, builder(package)


@needs_cxx
def test_scores_of_100_events_are_those_of_python(egamma):
    model, module = egamma
    events = maps(100, 2, ROWS, COLUMNS)
    expected = scores(model, EGAMMA, events)
    assert expected[:, 1].std() > 0.05  # or a constant would pass
    names, found = module(events)
    assert names == ["photon", "electron"]
    np.testing.assert_allclose(np.array(found)[:, :, 0], expected, rtol=0, atol=1e-5)


@needs_cxx
def test_each_seed_is_a_candidate_and_none_is_none(egamma):
    model, module = egamma
    events = maps(3, 2, ROWS, COLUMNS)
    cells = [[5 * COLUMNS + 49, 24 * COLUMNS + 25], [], [0]]
    _, found = module(events, cells)
    for event, seeds, values in zip(events, cells, found, strict=True):
        around = np.empty((len(seeds), 2, 32, 32), np.float32)
        padded = np.pad(event, ((0, 0), (16, 16), (16, 16)))
        for image, (row, column) in zip(around, (divmod(seed, COLUMNS) for seed in seeds), strict=True):
            image[:] = padded[:, row : row + 32, column : column + 32]
        expected = scores(model, [EGAMMA[0], EGAMMA[2]], around) if seeds else np.empty((0, 2))
        np.testing.assert_allclose(np.array(values).T, expected, rtol=0, atol=1e-5)


@needs_cxx
def test_columns_wrap_where_the_map_does(egamma):
    module = egamma[1]
    events = maps(20, 2, ROWS, COLUMNS)
    cells = [[24 * COLUMNS + column] for column in (0, 3, 49, 45, 20) * 4]
    turned = [
        np.roll(event, 25 - cell[0] % COLUMNS, axis=2) for event, cell in zip(events, cells, strict=True)
    ]
    _, found = module(events, cells, wrap=True)
    _, expected = module(np.array(turned), [[24 * COLUMNS + 25]] * 20)
    np.testing.assert_array_equal(np.array(found), np.array(expected))


@needs_cxx
def test_a_seed_outside_the_map_is_an_error(egamma):
    done = egamma[1].run(maps(1, 2, ROWS, COLUMNS), [[ROWS * COLUMNS]])
    assert done.returncode == 1
    assert b"got 2 of 48x50 and seed 2400" in done.stderr


@pytest.mark.slow
@needs_cxx
def test_every_step_is_what_python_does(builder, tmp_path):
    transform = [
        {"name": "zero_suppress", "gev": 0.03, "unit_gev": [1.0, 1.0, 0.5]},
        {"name": "crop", "size": 37, "around": "hottest", "channel": 0},
        {"name": "channels", "keep": [2, 0, 1]},
        {"name": "scale", "factors": [0.7, 1.0, 0.3]},
        {"name": "crop", "size": 33},
        {"name": "fold_cells", "k": 3},
        {"name": "compress", "how": "sqrt", "scale": 0.5},
        {"name": "sum_channels"},
        {"name": "compress", "how": "log1p", "scale": 2.0},
        {"name": "standardise", "mean": [0.123456789], "std": [0.77]},
        {"name": "normalise", "over": "channel"},
        {"name": "normalise"},
        {"name": "normalise", "by": "l2"},
        {"name": "normalise", "over": "channel", "by": "l2"},
    ]
    model = network(transformed(transform, maps(30, 3, 41, 45, seed=2)), classes=3)
    arguments = {"package": "My/Jets", "data": {"transform": transform}, "rows": 41, "columns": 45}
    with pytest.raises(UsageError, match="channels of the maps: expected their names"):
        export_cmssw(model, tmp_path, **arguments)
    package = export_cmssw(model, tmp_path, channels=["tracks", "ECAL", "HCAL"], **arguments)
    events = maps(30, 3, 41, 45)
    events[0] = 0  # an image without content
    events[1] *= -1
    names, found = builder(package)(events)
    assert names == ["class0", "class1", "class2"]
    np.testing.assert_allclose(np.array(found)[:, :, 0], scores(model, transform, events), rtol=0, atol=1e-5)


@pytest.mark.slow
@needs_cxx
def test_a_protected_network_says_how_far_its_checksums_are_off(builder, egamma, tmp_path):
    model, _ = egamma
    made = to_onnx(model, tmp_path / "m.onnx", meta={**CLASSES, "transform": EGAMMA})
    protect_onnx(made.path, tmp_path / "n.onnx")
    package = export_cmssw(
        tmp_path / "n.onnx", tmp_path, package="RecoE2E/Protected", rows=ROWS, columns=COLUMNS
    )
    module = builder(package)
    events = maps(10, 2, ROWS, COLUMNS)
    names, found = module(events)
    assert names == ["photon", "electron", "deviation"]
    values = np.array(found)[:, :, 0]
    np.testing.assert_allclose(values[:, :2], scores(model, EGAMMA, events), rtol=0, atol=1e-5)
    assert (values[:, 2] <= 1).all()
    assert (values[:, 2] > 0).any()

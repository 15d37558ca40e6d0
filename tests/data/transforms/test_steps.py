"""Every step against loops over events and cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.data.transforms import Compress, Crop, FoldCells, Layout, Moments, Pipeline, Standardise

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(5, 3, 6, 7)) * RNG.integers(0, 2, (5, 3, 6, 7))).astype(np.float32)
JETS = Layout(("tracks", "ECAL", "HCAL"), ("GeV", "50 GeV", "ns"), 6, 7)


def crop_slowly(image, size, row, column):
    out = np.zeros((len(image), size, size), dtype=np.float32)
    for i in range(size):
        for j in range(size):
            r, c = row - size // 2 + i, column - size // 2 + j
            if 0 <= r < image.shape[1] and 0 <= c < image.shape[2]:
                out[:, i, j] = image[:, r, c]
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.sampled_from(["centre", "hottest"]), st.integers(0, 2))
def test_crop(size, around, channel):
    for image, cropped in zip(X, Crop(size, around, channel).apply(X), strict=True):
        row, column = 3, 3
        if around == "hottest":
            row, column = np.unravel_index(image[channel].argmax(), image[channel].shape)
            assert cropped[channel, size // 2, size // 2] == image[channel].max()
        assert np.array_equal(cropped, crop_slowly(image, size, row, column))


def test_ties_go_to_the_first_cell():
    image = np.zeros((1, 1, 4, 4), dtype=np.float32)
    image[0, 0, 1, 3] = image[0, 0, 3, 0] = 2
    cropped = Crop(3, "hottest").apply(image)[0, 0]
    assert cropped[1, 1] == 2
    assert cropped.sum() == 2


@pytest.mark.parametrize(
    ("step", "slow"),
    [
        ({"name": "channels", "keep": [2, 0]}, lambda x: np.stack([x[2], x[0]])),
        ({"name": "scale", "factors": [2, 3, 0.5]}, lambda x: np.stack([2 * x[0], 3 * x[1], x[2] / 2])),
        ({"name": "compress", "how": "sqrt"}, lambda x: np.sign(x) * np.sqrt(abs(x))),
        ({"name": "compress", "scale": 0.5}, lambda x: np.sign(x) * np.log(1 + abs(x) / 0.5)),
        ({"name": "normalise"}, lambda x: x / abs(x).max()),
        ({"name": "normalise", "by": "l2"}, lambda x: x / np.sqrt((x**2).sum())),
        ({"name": "normalise", "over": "channel"}, lambda x: np.stack([c / abs(c).max() for c in x])),
        (
            {"name": "standardise", "mean": [1, 2, 3], "std": [2, 2, 4]},
            lambda x: np.stack([(x[0] - 1) / 2, (x[1] - 2) / 2, (x[2] - 3) / 4]),
        ),
        (
            {"name": "zero_suppress", "gev": 0.8},
            lambda x: np.stack([x[0] * (abs(x[0]) >= 0.8), x[1] * (abs(x[1]) >= 0.8 / 50), x[2]]),
        ),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_values(step, slow):
    given = X.copy()
    applied = Pipeline.from_json([step]).bind(JETS).apply(X)
    assert applied.dtype == np.float32
    assert np.allclose(applied, np.stack([slow(image.astype(np.float64)) for image in X]), rtol=1e-6)
    assert np.array_equal(X, given)


def test_cells_and_channels_are_summed():
    folded = FoldCells(2).apply(X[:, :, :, :6])
    assert np.isclose(folded[1, 2, 1, 2], X[1, 2, 2:4, 4:6].sum())
    summed = Pipeline.from_json([{"name": "sum_channels"}]).apply(X)
    assert np.allclose(summed[:, 0], X.sum(axis=1), rtol=1e-6)


def test_empty_images_stay_empty():
    zero = np.zeros((2, 3, 4, 4), dtype=np.float32)
    steps = [{"name": "normalise"}, {"name": "compress"}]
    assert not Pipeline.from_json(steps).apply(zero).any()


def test_the_seed_goes_from_125_125_3_to_33_33_1():
    incoming = Layout(("tracks", "ECAL", "HCAL"), ("GeV",) * 3, 125, 125)
    steps = [{"name": "sum_channels"}, {"name": "crop", "size": 33}, {"name": "scale", "factors": [0.02]}]
    pipeline = Pipeline.from_json(steps).bind(incoming)
    outgoing = pipeline.outgoing(incoming)
    assert outgoing == Layout(("tracks+ECAL+HCAL",), ("50 GeV",), 33, 33)
    assert outgoing.unit_gev == (50.0,)
    images = np.zeros((1, 3, 125, 125), dtype=np.float32)
    images[0, :, 62, 62] = 50
    assert pipeline.apply(images)[0, 0, 16, 16] == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=3), st.floats(-1e4, 1e4, width=32))
def test_moments_of_blocks_are_those_of_all(cuts, offset):
    images = X + np.float32(offset)
    blocks = np.split(images, sorted(cuts))
    moments = Moments.of(blocks[0])
    for block in blocks[1:]:
        moments = moments.merged(Moments.of(block))
    assert np.allclose(moments.mean, images.mean(axis=(0, 2, 3), dtype=np.float64))
    assert np.allclose(moments.std, images.std(axis=(0, 2, 3), dtype=np.float64))


def test_a_pipeline_learns_after_the_steps_before_and_survives_json():
    steps = [{"name": "compress"}, {"name": "standardise"}, {"name": "crop", "size": 5}]
    pipeline = Pipeline.from_json(steps).fit([X[:2], X[2:]])
    before = Compress().apply(X)
    assert np.allclose(pipeline.steps[1].mean, before.mean(axis=(0, 2, 3)), atol=1e-6)
    assert Pipeline.from_json(pipeline.to_json()) == pipeline
    assert np.array_equal(Pipeline.from_json(pipeline.to_json()).apply(X), pipeline.apply(X))
    with pytest.raises(UsageError, match="fitted first"):
        Pipeline.from_json(steps).apply(X)


@pytest.mark.parametrize(
    "steps",
    [
        [{"name": "crop"}],
        [{"name": "crop", "size": 0}],
        [{"name": "crop", "size": 3, "around": "seed"}],
        [{"name": "crop", "size": 3, "around": "hottest", "channel": 3}],
        [{"name": "crop", "size": 3, "colour": 1}],
        [{"name": "channels", "keep": [3]}],
        [{"name": "scale", "factors": [1, 2]}],
        [{"name": "scale", "factors": [1, -1, 1]}],
        [{"name": "sum_channels"}],
        [{"name": "fold_cells", "k": 4}],
        [{"name": "standardise", "mean": [0]}],
        [{"name": "standardise"}, {"name": "standardise"}],
        [{"name": "compress", "how": "exp"}],
        [{"name": "standardise", "mean": [0, 0, 0], "std": [1, 0, 1]}],
        [{"name": "compress"}, {"name": "zero_suppress", "gev": 1}],
        ["crop"],
    ],
    ids=str,
)
def test_steps_that_do_not_fit(steps):
    with pytest.raises(UsageError):
        Pipeline.from_json(steps).bind(JETS)


def test_unknown_steps_are_told():
    with pytest.raises(UnknownNameError, match="did you mean 'crop'"):
        Pipeline.from_json([{"name": "crob"}])


def test_a_channel_without_content_cannot_be_standardised():
    with pytest.raises(UsageError, match="standard deviations > 0"):
        Pipeline((Standardise(),)).fit([np.zeros((2, 1, 3, 3), dtype=np.float32)])

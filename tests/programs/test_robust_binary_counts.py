"""What needs no training: masks and paths, operations saved, empty channels and their pictures."""

from math import comb, log10, prod
from types import SimpleNamespace

import numpy as np
import pytest

from holdfast.core.errors import UsageError
from holdfast.programs import mask_figures
from holdfast.programs.robust_binary_counts import cost, counts, dead_channels
from holdfast.programs.robust_binary_derived import chosen
from holdfast.subnet import adaptive_counts

SIZES = [144, 4608, 18432, 73728, 1280]
"""Weights of the small CNN's layers on the digits."""


@pytest.fixture(scope="module")
def counted():
    return list(counts((0.5, 0.99), (0.0, 0.1, 1.0)))


def test_masks_and_paths_are_those_of_the_kept_weights(counted):
    kept = adaptive_counts(SIZES, 0.99, 0.1)
    found = {"model": "convnet", "prune_rate": 0.99, "p": 0.1}
    (masks,) = chosen(counted, "log10_masks", **found)
    (paths,) = chosen(counted, "log10_paths", **found)
    assert masks.value == pytest.approx(log10(prod(map(comb, SIZES, kept))))
    assert paths.value == pytest.approx(log10(prod(kept)))


@pytest.mark.parametrize("model", ["resnet34", "convnet"])
def test_p_1_has_most_masks_and_p_0_most_paths(counted, model):
    for rate in (0.5, 0.99):
        (masks,) = chosen(counted, "most_masks_at_p", model=model, prune_rate=rate)
        (paths,) = chosen(counted, "most_paths_at_p", model=model, prune_rate=rate)
        assert (masks.value, paths.value) == (1.0, 0.0)


def test_operations_saved():
    found = {(r.labels["model"], r.labels["pass"]): r for r in cost()}
    assert found["resnet34", "forward"].value == 50
    assert 24.9 < found["resnet34", "backward"].value < 25
    # The first convolution needs no gradient of its input, where the others save their multiplications.
    macs = [size * side**2 for size, side in zip(SIZES, (8, 4, 4, 2, 1), strict=True)]
    assert found["convnet", "forward"].labels["operations"] == 2 * sum(macs)
    saved = (sum(macs) - macs[0]) / (4 * sum(macs) - 2 * macs[0])
    assert found["convnet", "backward"].value == pytest.approx(100 * saved)


def layer(name, mask):
    return SimpleNamespace(name=name, mask=mask)


@pytest.fixture
def network():
    """Two layers with 6 channels between them: 1 and 4 empty before, 1 and 2 unread after."""
    generator = np.random.default_rng(0)
    before, after = generator.random((6, 3, 3, 3)) < 0.4, generator.random((5, 6, 3, 3)) < 0.4
    before[[1, 4]] = False
    after[:, [1, 2]] = False
    linear = np.ones((10, 5), dtype=bool)
    layers = [layer("a.conv", before), layer("b.conv", after), layer("fc", linear)]
    return SimpleNamespace(layers=layers, config=SimpleNamespace(name="test"))


def test_channels_that_are_empty_on_both_sides(network):
    found = {r.metric: r.value for r in dead_channels(network, {}, 0)}
    assert found == {"dead_outputs": 2, "dead_inputs": 2, "dead_in_both": 1, "dead_in_both_ratio": 6 / 4}


def test_the_ratio_is_over_all_pairs(network):
    # The second layer leaves its channel 0 empty, and the third does not read it.
    last = np.ones((4, 5, 3, 3), dtype=bool)
    last[:, 0] = False
    network.layers[1].mask[0] = False
    network.layers[2] = layer("c.conv", last)
    ratio = [r.value for r in dead_channels(network, {}, 0)][-1]
    assert ratio == pytest.approx((1 + 1) / (2 * 2 / 6 + 1 * 1 / 5))


def names(pairs):
    return [tuple(each.name for each in pair) for pair in pairs]


def test_layers_of_one_block_come_first(network):
    conv = np.ones((6, 6, 3, 3), dtype=bool)
    network.layers[2:] = [layer("c.conv1", conv[:, :5]), layer("c.conv2", conv)]
    assert names(mask_figures.consecutive(network)) == [("c.conv1", "c.conv2")]
    network.layers = network.layers[:1]
    with pytest.raises(UsageError, match="consecutive"):
        mask_figures.consecutive(network)


def test_the_pair_that_is_drawn_shares_an_empty_channel(network):
    network.layers[2:] = [layer("c.conv", np.ones((4, 5, 3, 3), dtype=bool))]
    assert names([mask_figures.to_draw(network)]) == [("a.conv", "b.conv")]
    network.layers[1].mask[:] = True
    assert names([mask_figures.to_draw(network)]) == [("b.conv", "c.conv")]


def orange_boxes(mask, axis):
    """Runs of empty channels: neighbours share a box."""
    empty = ~mask_figures.alive(mask, axis)
    return int((empty & ~np.concatenate([[False], empty[:-1]])).sum())


def boxes(picture, colour):
    return picture.count(f'fill="{colour}"')


def test_a_picture_has_a_box_for_each_kept_weight_and_each_run_of_empty_channels(network):
    before, after = (each.mask for each in network.layers[:2])
    blue, orange = mask_figures.BLUE, mask_figures.ORANGE
    picture = mask_figures.layer(before)
    assert boxes(picture, orange) == orange_boxes(before, 0) == 2
    # The bar on top is one box: every input channel is alive.
    assert boxes(picture, blue) == before.sum() + 1
    picture = mask_figures.pair(before, after)
    assert boxes(picture, orange) == 2 + 1 + orange_boxes(after, 0)
    # Bars: channels 0, 2-3, 5 on the left; 0, 3-5 on the right.
    assert boxes(picture, blue) == before.sum() + after.sum() + 3 + 2

"""The protected counterparts of oneDNN's examples: exact on integers, every bit seen."""

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def int8():
    """The names of the int8 example, its data, layer, clean s32 sums and clean answer."""
    names = runpy.run_path(str(EXAMPLES / "onednn_cnn_inference_int8.py"))
    d, layer = names["conv3"]()
    return names, d, layer, names["convolve"](d, layer.weight), layer(d)


def delta5(names, d, layer, o):
    """Co5 − S5 at every position."""
    co5 = names["convolve"](d.long().sum(0)[None], layer.cw1[None])[0, 0]
    return co5 - o.long().sum((0, 1))


def test_the_geometry_and_types_are_the_examples(int8):
    _, d, layer, o, answer = int8
    assert (d.dtype, tuple(d.shape)) == (torch.uint8, (8, 256, 13, 13))
    assert (layer.weight.dtype, tuple(layer.weight.shape)) == (torch.int8, (384, 256, 3, 3))
    assert (answer.dtype, tuple(answer.shape)) == (torch.uint8, (8, 384, 13, 13))
    assert o.abs().max() < 2**31
    assert 0.1 < (answer > 0).float().mean() < 0.9
    assert not layer.found


def test_the_fault_free_sums_are_equal_exactly(int8):
    names, d, layer, o, _ = int8
    assert not delta5(names, d, layer, o).any()


@pytest.mark.parametrize("position", [(0, 0), (6, 6), (12, 3)])
def test_every_bit_of_every_output_at_a_position_is_seen(int8, position):
    names, d, layer, o, _ = int8
    blocks = o[:, :, position[0], position[1]].int().flatten()
    co5 = int(delta5(names, d, layer, o)[position]) + int(blocks.long().sum())
    for bit in range(32):
        mask = -(2**31) if bit == 31 else 1 << bit
        struck = blocks.repeat(len(blocks), 1)
        struck.diagonal().bitwise_xor_(torch.tensor(mask, dtype=torch.int32))
        assert (struck.long().sum(1) != co5).all()


@pytest.mark.parametrize("what", ["weight", "input"])
def test_every_bit_of_every_weight_and_input_is_seen(int8, what):
    _, d, layer, _, _ = int8
    values = layer.weight if what == "weight" else d
    for bit in range(8):
        mask = torch.tensor(-128 if bit == 7 and what == "weight" else 1 << bit, dtype=values.dtype)
        # One element at a time changes a sum by that element's own change: none of them is 0.
        assert ((values ^ mask).long() - values.long()).all()


@pytest.mark.parametrize("bit", [0, 7, 16, 30, 31])
def test_a_flip_in_the_s32_output_is_corrected_exactly(int8, bit):
    _, d, layer, _, clean = int8

    def damage(d, weight, o):
        o[3, 100, 5, 7] ^= -(2**31) if bit == 31 else 1 << bit

    assert torch.equal(layer(d, damage), clean)
    assert layer.found.pop() == "CoC at (3, 100, 5, 7)"


def test_flips_in_several_blocks_and_in_weights_end_in_the_clean_answer(int8):
    _, d, layer, _, clean = int8

    def several(d, weight, o):
        o[0, 0, 1, 1] += 5
        o[2, 7, 1, 1] += 11

    def weights(d, weight, o):
        weight[9, 9, 2, 2] ^= 1

    for damage, found in ((several, "recomputed"), (weights, "weights reloaded, recomputed")):
        assert torch.equal(layer(d, damage), clean)
        assert layer.found.pop() == found


def test_a_damaged_input_is_refused(int8):
    _, d, layer, _, _ = int8

    def damage(d, weight, o):
        d[0, 0, 0, 0] ^= 1

    with pytest.raises(RuntimeError, match="damaged after it had been summed"):
        layer(d.clone(), damage)


def test_checksums_kept_in_the_type_of_what_they_sum_would_be_wrong(int8):
    names, d, layer, _, _ = int8
    steady = torch.full_like(layer.weight, -128)
    cw1 = steady.long().sum(0)
    assert int(cw1.abs().max()) == 49152 > torch.iinfo(torch.int16).max
    o = names["convolve"](d, steady)
    cd1 = d.long().sum(0)
    assert int(cd1.max()) > torch.iinfo(torch.uint8).max
    exact = names["convolve"](cd1[None], cw1[None])[0, 0]
    assert torch.equal(exact, o.sum((0, 1)))
    narrow = names["convolve"](cd1[None], cw1.to(torch.int8)[None])[0, 0]
    assert not torch.equal(narrow, o.sum((0, 1)))
    sums = names["convolve"](d, layer.weight).sum((0, 1))
    single = torch.nn.functional.conv2d(cd1[None].float(), layer.cw1[None].float(), padding=1)[0, 0].long()
    assert not torch.equal(single, sums)  # float32 is exact to 2**24 only

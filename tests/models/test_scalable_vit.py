"""ScalableViT: sizes of maps and windows, order of the parts, both attentions against slow references."""

import pytest
import torch

from holdfast import models
from holdfast.models.scalable_attention import PositionGenerator, ScalableAttention, WindowAttention
from holdfast.models.scalable_vit import map_sides, window_side

SIDES = {32: [8, 4, 2], 125: [32, 16, 8], 33: [9, 5, 3], 224: [56, 28, 14], 1: [1, 1, 1]}


@pytest.mark.parametrize("size", SIDES)
def test_maps_halve_rounding_up_as_the_convolutions_do(size):
    assert map_sides(size, 3) == SIDES[size]
    with torch.device("meta"):
        model = models.create("scalable_vit", in_channels=2, classes=2, size=size)
        x = torch.empty(2, 2, size, size)
        for stage, side in zip(model.stages, SIDES[size], strict=True):
            x = stage(x)
            assert x.shape[2:] == (side, side)
    assert map_sides(125, 4) == [32, 16, 8, 4]


def test_windows_and_keys_have_the_papers_sides():
    assert [window_side(side, 7) for side in map_sides(224, 4)] == [7, 7, 7, 7]
    assert [window_side(side, 7) for side in map_sides(32, 3)] == [4, 4, 2]
    with torch.device("meta"):
        model = models.create("scalable_vit", in_channels=3, classes=2, size=224)
    ssa = [part for part in model.modules() if isinstance(part, ScalableAttention)]
    assert [part.shrink[0].stride[0] for part in ssa] == [8, 4, 2]
    assert [part.q.out_features for part in ssa] == [30, 60, 120]


def test_every_attention_comes_before_its_perceptron_and_positions_after_the_first_block():
    model = models.create(
        "scalable_vit", in_channels=1, classes=2, size=16, dims=(8, 8), depths=(4, 1), heads=(1, 1)
    )
    order, labels = [], {WindowAttention: "IWSA", ScalableAttention: "SSA", PositionGenerator: "PEG"}
    for name, part in model.named_modules():
        label = "FFN" if name.endswith("mlp") else labels.get(type(part))
        if label:
            part.register_forward_hook(lambda *a, label=label: order.append(label))
    model.eval()(torch.rand(1, 1, 16, 16))
    pair = ["IWSA", "FFN", "PEG", "SSA", "FFN"]
    assert order == [*pair, "IWSA", "FFN", "SSA", "FFN", "IWSA", "FFN", "PEG"]


def attend(q, k, v):
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v


def test_windows_attend_to_themselves_and_values_to_their_neighbours():
    torch.manual_seed(0)
    layer = WindowAttention(4, 2, side=6, window=3, dropout=0.0).double()
    x = torch.randn(2, 36, 4, dtype=torch.float64)
    q, k, v = layer.q(x), layer.k(x), layer.v(x)
    mixed = torch.zeros_like(v)
    for top in (0, 3):
        for left in (0, 3):
            places = [6 * (top + i) + left + j for i in range(3) for j in range(3)]
            for h in (slice(0, 2), slice(2, 4)):
                mixed[:, places, h] = attend(q[:, places, h], k[:, places, h], v[:, places, h])
    for n in range(2):
        for c in range(4):
            image = v[n, :, c].view(1, 1, 6, 6)
            kernel, bias = layer.local.weight[c : c + 1], layer.local.bias[c : c + 1]
            mixed[n, :, c] = mixed[n, :, c] + torch.conv2d(image, kernel, bias, padding=1).flatten()
    torch.testing.assert_close(layer(x), layer.proj(mixed))


def test_every_token_sees_a_shrunken_map():
    torch.manual_seed(0)
    layer = ScalableAttention(4, 2, side=6, window=3, ratio=1.5, dropout=0.0).double()
    x = torch.randn(1, 36, 4, dtype=torch.float64)
    depthwise, point = layer.shrink
    few = torch.zeros(9, 4, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            places = [6 * (2 * row + i) + 2 * column + j for i in range(2) for j in range(2)]
            patch = x[0, places]  # (4, channels)
            few[3 * row + column] = (patch * depthwise.weight.view(4, 4).T).sum(0) + depthwise.bias
    few = layer.norm(few @ point.weight[:, :, 0, 0].T + point.bias)
    q, k, v = layer.q(x[0]), layer.k(few), layer.v(few)
    mixed = torch.cat(
        [attend(q[:, 3 * h : 3 * h + 3], k[:, 3 * h : 3 * h + 3], v[:, 2 * h : 2 * h + 2]) for h in (0, 1)],
        -1,
    )
    torch.testing.assert_close(layer(x)[0], layer.proj(mixed))


def test_parameters_follow_the_formula():
    model = models.create(
        "scalable_vit",
        in_channels=2,
        classes=3,
        size=32,
        dims=(8, 16),
        depths=(2, 1),
        heads=(1, 2),
        mlp_ratio=3,
    )
    d, e = 8, 16
    rest = lambda n: 4 * n + n * 3 * n + 3 * n + 3 * n * n + n  # noqa: E731  norms and perceptron
    iwsa = lambda n: 4 * (n * n + n) + 10 * n  # noqa: E731
    inner, stride = 10, 2
    ssa = d * inner + inner + d * (stride**2 + 1) + d * inner + inner + 2 * inner
    ssa += inner * inner + inner + inner * d + d + d * d + d
    first = 49 * 2 * d + d + 2 * d + iwsa(d) + rest(d) + 10 * d + ssa + rest(d)
    second = 9 * d * e + e + 2 * e + iwsa(e) + rest(e) + 10 * e
    assert sum(p.numel() for p in model.parameters()) == first + second + 2 * e + (e + 1) * 3

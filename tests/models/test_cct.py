import pytest
import torch

from holdfast import models
from holdfast.models.cct import SequencePool


def parameters(**options):
    model = models.create("cct", **{"in_channels": 3, "classes": 10, "size": 32, **options})
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(2, 0.28), (4, 0.48)])
def test_the_papers_small_ones(depth, millions):
    d, hidden = 128, 128
    block = 4 * (d * d + d) + 2 * d * hidden + hidden + d + 4 * d
    expected = 9 * (3 * 64 + 64 * d) + 64 * d + depth * block + 2 * d + (d + 1) + (d + 1) * 10
    count = parameters(dim=d, depth=depth, heads=2, mlp=hidden)
    assert count == expected
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize(("size", "convs", "side"), [(32, 2, 8), (33, 2, 9), (125, 4, 8), (1, 1, 1)])
def test_each_step_halves_the_map(size, convs, side):
    with torch.device("meta"):
        model = models.create("cct", in_channels=3, classes=2, size=size, convs=convs)
        assert model.tokenizer(torch.empty(2, 3, size, size)).shape == (2, 64, side, side)
    assert model.positions.shape == (1, side * side, 64)


def test_tokens_are_pooled_by_their_own_weights():
    pool = SequencePool(4).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        pooled = pool(x)
        for image, found in zip(x, pooled, strict=True):
            weights = torch.exp(image @ pool.weigh.weight[0] + pool.weigh.bias)
            torch.testing.assert_close(found, (weights[:, None] * image).sum(0) / weights.sum())

import pytest
import torch

from holdfast import models


def made(**options):
    return models.create("vit", in_channels=2, classes=3, size=12, patch=4, **options)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_parameters_follow_the_formula(pool):
    d, m, depth, tokens = 24, 40, 3, (12 // 4) ** 2 + (pool == "class")
    model = made(dim=d, mlp=m, depth=depth, heads=3, pool=pool)
    embed = 2 * 4 * 4 * d + d
    block = 4 * (d * d + d) + (d * m + m) + (m * d + d) + 2 * (2 * d)
    expected = embed + tokens * d + (pool == "class") * d + depth * block + 2 * d + (d + 1) * 3
    assert sum(p.numel() for p in model.parameters()) == expected


def test_positions_tell_patches_apart():
    torch.manual_seed(0)
    model = made(pool="mean", depth=1, input_norm=False).eval()
    x = torch.rand(1, 2, 12, 12)
    moved = x.roll(4, -1)  # the same patches elsewhere
    with torch.no_grad():
        assert not torch.allclose(model(x), model(moved), atol=1e-5)
        model.positions.zero_()
        torch.testing.assert_close(model(x), model(moved))


def test_it_can_overfit():
    torch.manual_seed(0)
    x, y = 1e-2 * torch.rand(24, 2, 12, 12), torch.arange(24) % 3
    model = made(dim=32, depth=2, dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model.eval()(x).argmax(1) == y).float().mean() > 0.9

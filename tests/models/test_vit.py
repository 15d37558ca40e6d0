import pytest
import torch

from holdfast import models
from holdfast.models.transformer import ShiftedCopies


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


def test_the_proposals_size():
    model = models.create(
        "vit", in_channels=2, classes=2, size=32, patch=8, dim=64, depth=8, heads=10, head_dim=64, mlp=128
    )
    inner, d = 640, 64
    block = 3 * (d * inner + inner) + inner * d + d + 2 * d * 128 + 128 + d + 4 * d
    expected = 2 * 64 * d + d + 17 * d + d + 8 * block + 2 * d + 2 * d + 2
    assert sum(p.numel() for p in model.parameters()) == expected == 1_470_914


def test_shifted_patches_see_four_moved_copies():
    shift = ShiftedCopies(2, 5)
    x = torch.arange(25.0).view(1, 1, 5, 5)
    copies = shift(x)
    assert copies.shape == (1, 5, 5, 5)
    assert torch.equal(copies[:, :1], x)
    for copy, (rows, columns) in zip(copies[0, 1:], [(2, 2), (2, -2), (-2, 2), (-2, -2)], strict=True):
        expected = torch.zeros(5, 5)
        for i in range(5):
            for j in range(5):
                if 0 <= i - rows < 5 and 0 <= j - columns < 5:
                    expected[i, j] = x[0, 0, i - rows, j - columns]
        assert torch.equal(copy, expected)
    plain, more = (sum(p.numel() for p in made(shifted=s).parameters()) for s in (False, True))
    assert more - plain == 4 * 2 * 4 * 4 * 64


def test_padding_is_an_empty_frame_of_the_scaled_image():
    options = {"in_channels": 1, "classes": 2, "patch": 4, "dim": 8, "depth": 1, "heads": 2, "dropout": 0.0}
    small = models.create("vit", size=13, pad=True, **options).eval()
    large = models.create("vit", size=16, **options).eval()
    large.load_state_dict(small.state_dict())
    x = torch.randn(2, 1, 13, 13)
    with torch.inference_mode():
        torch.testing.assert_close(small(x), large(torch.nn.functional.pad(x, (2, 1, 2, 1))))


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

import torch

from holdfast import models


def test_it_is_a_vit_with_fixed_positions_and_a_mean():
    options = {"patch": 4, "dim": 24, "depth": 2, "heads": 3, "mlp": 40}
    simple = models.create("simple_vit", in_channels=2, classes=3, size=12, **options).eval()
    vit = models.create(
        "vit", in_channels=2, classes=3, size=12, pool="mean", positions="grid", **options
    ).eval()
    assert simple.token is None
    assert "positions" not in dict(simple.named_parameters())
    d, m = 24, 40
    block = 4 * (d * d + d) + (d * m + m) + (m * d + d) + 4 * d
    expected = 2 * 16 * d + d + 2 * block + 2 * d + (d + 1) * 3
    assert sum(p.numel() for p in simple.parameters()) == expected
    vit.load_state_dict(simple.state_dict())
    x = torch.rand(2, 2, 12, 12)
    with torch.inference_mode():
        assert torch.equal(simple(x), vit(x))

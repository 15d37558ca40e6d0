import pytest
import torch
from torch import nn

from holdfast import bench, models


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), 2 * 12 * 5),
        (nn.Conv2d(3, 8, 3, padding=1), (3, 7, 7), 2 * 7 * 7 * 3 * 8 * 9),
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), (4, 9, 9), 2 * 4 * 4 * 2 * 8 * 9),
        (nn.ReLU(), (3, 4, 4), 0),
    ],
    ids=["linear", "conv", "strided grouped conv", "elementwise"],
)
def test_flops_are_twice_the_multiply_adds(model, shape, expected):
    assert bench.count_flops(model, shape) == expected


def test_resnet20_has_its_published_multiply_adds():
    model = models.create("resnet20", in_channels=3, classes=10, size=32).train()
    (record,) = bench.flops(model, (3, 32, 32), labels={"model": "resnet20"})
    assert record.value == pytest.approx(2 * 40.8e6, rel=0.01)
    assert (record.unit, record.direction, record.labels) == ("FLOP", "lower", {"model": "resnet20"})
    assert model.training


@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_counts_on_the_cpu(masked):
    class Attend(torch.nn.Module):
        def forward(self, x):
            q = x.flatten(2).transpose(1, 2)[:, None]  # (N, one head, tokens, channels)
            mask = torch.zeros(q.shape[2], q.shape[2]) if masked else None
            return torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    assert bench.count_flops(Attend(), (8, 3, 4)) == 2 * 2 * 12 * 12 * 8

import torch

from holdfast import models
from holdfast.models.deep_vit import ReAttention


def test_maps_are_mixed_over_heads_after_the_softmax_then_normalised():
    torch.manual_seed(0)
    layer = ReAttention(12, 3).double().eval()
    layer.norm.running_mean.uniform_(-1, 1)
    layer.norm.running_var.uniform_(0.5, 2)
    layer.norm.weight.data.uniform_(0.5, 2)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    heads = [slice(4 * h, 4 * h + 4) for h in range(3)]
    q, k, v = layer.q(x), layer.k(x), layer.v(x)
    maps = [torch.softmax(q[..., h] @ k[..., h].mT / 2, -1) for h in heads]
    theta, out = layer.theta.weight[:, :, 0, 0], []
    for g in range(3):
        mixed = sum(theta[g, h] * maps[h] for h in range(3))
        spread = (layer.norm.running_var[g] + layer.norm.eps).sqrt()
        mixed = (mixed - layer.norm.running_mean[g]) / spread * layer.norm.weight[g] + layer.norm.bias[g]
        out.append(mixed @ v[..., heads[g]])
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(out, -1)))


def test_each_block_has_a_theta_and_a_norm_more_than_a_vits():
    sizes = {"in_channels": 2, "classes": 3, "size": 12, "dim": 24, "depth": 3, "heads": 4}
    vit, deep = (
        sum(p.numel() for p in models.create(name, **sizes).parameters()) for name in ("vit", "deep_vit")
    )
    assert deep - vit == 3 * (4 * 4 + 2 * 4)


def test_in_training_every_head_is_standardised_over_the_batch():
    layer = ReAttention(8, 2).train()
    seen = []
    layer.norm.register_forward_hook(lambda module, args, output: seen.append(output))
    layer(torch.randn(4, 6, 8))
    maps = seen[0]
    torch.testing.assert_close(maps.mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps.std((0, 2, 3), correction=0), torch.ones(2), atol=0.05, rtol=0)

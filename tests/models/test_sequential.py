import pytest
import torch

from holdfast import models
from holdfast.core.errors import UsageError

DENSE = {"kind": "dense", "units": 2}


def made(*layers, **options):
    return models.create(
        "sequential", **{"in_channels": 2, "classes": 2, "size": 6, "layers": layers, **options}
    )


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "size", "published"), [("cnn_egamma", 2, 32, 30_465), ("cnn_jets", 1, 33, 99_969)]
)
def test_the_proposals_networks_have_its_parameters(name, channels, size, published):
    # The published ones end in one sigmoid of 16 + 1 parameters, these in two logits.
    assert count(models.create(name, in_channels=channels, classes=2, size=size)) == published + 17


def test_a_list_of_layers_is_the_network():
    layers = [
        {"kind": "conv", "filters": 3, "kernel": [3, 2], "stride": 2, "pad": [1, 0]},
        {"kind": "batch_norm"},
        {"kind": "leaky_relu", "slope": 0.1},
        {"kind": "max_pool", "size": 2, "ceil": True},
        {"kind": "flatten"},
        DENSE,
    ]
    model = made(*layers).eval()
    x = torch.randn(3, 2, 6, 6)
    conv, norm = model.layers[0], model.layers[1]
    y = torch.nn.functional.leaky_relu(norm(torch.conv2d(x, conv.weight, conv.bias, (2, 2), (1, 0))), 0.1)
    y = torch.nn.functional.max_pool2d(y, 2, ceil_mode=True).flatten(1)
    torch.testing.assert_close(model(x), y @ model.layers[-1].weight.T + model.layers[-1].bias)
    assert models.create(**model.config.arguments()).config == model.config


def test_statistics_are_untouched_when_it_is_made():
    model = made({"kind": "batch_norm"}, {"kind": "flatten"}, DENSE, {"kind": "batch_norm"})
    assert model.layers[0].training
    assert not model.layers[0].running_mean.any()
    assert int(model.layers[3].num_batches_tracked) == 0


BAD = {
    "nothing": ((), r"an output of \(2,\), got \(2, 6, 6\)"),
    "no kind": (({"filters": 3},), "kind of layer 0.*global_mean"),
    "not a layer": (("relu",), "kind of layer 0"),
    "unknown argument": (({"kind": "conv", "filter": 3},), "layer 0, conv.*filter"),
    "too large": (({"kind": "max_pool"}, {"kind": "max_pool", "size": 9}), r"layer 1, max_pool.*\(2, 3, 3\)"),
    "dense of a map": ((DENSE,), "flatten the map"),
    "another number of classes": (({"kind": "flatten"}, {"kind": "dense", "units": 5}), r"got \(5,\)"),
    "share": (({"kind": "dropout", "share": 2},), r"layer 0, dropout|dropout"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_layer_that_does_not_fit_is_named(case):
    layers, says = BAD[case]
    with pytest.raises(UsageError, match=says):
        made(*layers)

import torch
from torch import nn

from holdfast.core.protocols import FaultSite, Protected, effective_weight, fault_site, named_layers


class Guard(nn.Module):
    """A wrapper as protection makes it: the original stays a submodule."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.extra = nn.Identity()

    @property
    def fault_site(self):
        return self.inner

    def forward(self, x):
        return self.inner(x)


def net():
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))


def test_names_and_layers_are_those_of_the_plain_model():
    plain = net()
    expected = list(named_layers(plain))
    assert [name for name, _ in expected] == ["0", "1.0", "1.1"]

    plain[0] = Guard(plain[0])
    plain[1][1] = Guard(Guard(plain[1][1]))
    assert list(named_layers(plain)) == expected
    assert list(named_layers(Guard(Guard(plain)))) == expected


def test_a_wrapped_container_is_looked_into():
    model = net()
    expected = list(named_layers(model))
    model[1] = Guard(model[1])
    assert list(named_layers(model)) == expected


def test_a_single_layer_has_the_empty_name():
    layer = nn.Linear(1, 1)
    assert list(named_layers(Guard(layer))) == [("", layer)]


def test_fault_site_is_the_innermost_original():
    layer = nn.Linear(1, 1)
    assert fault_site(Guard(Guard(layer))) is layer
    assert fault_site(layer) is layer
    assert isinstance(Guard(layer), FaultSite)
    assert not isinstance(layer, FaultSite)
    assert not isinstance(layer, Protected)


def test_effective_weight_prefers_the_layers_own():
    class Masked(nn.Linear):
        def effective_weight(self):
            return self.weight * 0

    assert torch.equal(effective_weight(Masked(2, 2)), torch.zeros(2, 2))
    layer = nn.Linear(2, 2)
    assert effective_weight(layer) is layer.weight

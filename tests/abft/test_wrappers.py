"""A protected model looks like the model: names, state, gradients, copies; and says what it leaves out."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from abft_support import Net, layer_named, spoil
from torch import Tensor, nn

from holdfast.abft import Protected, protect
from holdfast.core import protocols


def test_original_is_left_alone_and_shares_its_tensors(net: Net) -> None:
    net.train()
    before = {name: type(module) for name, module in net.named_modules()}
    protected = protect(net)
    assert {name: type(module) for name, module in net.named_modules()} == before
    assert net.training
    assert not protected.training
    assert not any(module.training for module in protected.modules())
    ours = [id(t) for t in (*protected.parameters(), *protected.buffers())]
    assert ours == [id(t) for t in (*net.parameters(), *net.buffers())]


def test_original_names_and_fault_sites(net: Net) -> None:
    protected = protect(net)
    assert [n for n, _ in protocols.named_layers(protected)] == [n for n, _ in protocols.named_layers(net)]
    assert type(layer_named(protected, "deep")) is nn.Conv2d
    assert protected.deep.kernel_size == (3, 3)  # attributes are seen through wrappers
    with pytest.raises(AttributeError, match="no_such"):
        _ = protected.no_such


def test_gradients_are_those_of_the_plain_model(net: Net, x: Tensor) -> None:
    gradients = []
    for model in (net, protect(net)):
        leaf = x.clone().requires_grad_()
        model(leaf).square().sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_state_dict_goes_round(net: Net, x: Tensor) -> None:
    protected = protect(net)
    state = protected.state_dict()
    assert list(state) == list(net.state_dict())
    with torch.random.fork_rng():
        torch.manual_seed(7)
        other = Net().eval()
    protect(other).load_state_dict(state)
    assert torch.equal(other(x), net(x))
    fresh = protect(Net())
    keys = fresh.load_state_dict(net.state_dict())
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    assert torch.equal(fresh(x), net(x))
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict({"head.bias": state["head.bias"]})
    whole = nn.ModuleDict({"inner": protect(net)})
    assert list(whole.state_dict()) == [f"inner.{key}" for key in state]
    whole.load_state_dict(whole.state_dict())


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_work_and_keep_their_own_events(net: Net, x: Tensor, clone: Callable[[Any], Any]) -> None:
    protected = protect(net)
    protected(x)
    twin = clone(protected)
    assert isinstance(twin, Protected)
    assert torch.equal(twin(x), net(x))
    layer_named(twin, "head").register_forward_hook(spoil(math.nan))
    twin(x)
    assert (len(twin.events), len(protected.events)) == (1, 0)


class OwnForward(nn.Linear):
    """A subclass that does something else than its parent."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


UNPROTECTED = {
    "own forward": (lambda: OwnForward(4, 4), "OwnForward has a forward of its own"),
    "parametrisation": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        "its weight is a parametrisation",
    ),
    "recurrent": (lambda: nn.GRU(4, 4), "GRU is not covered"),
    "lazy": (lambda: nn.LazyLinear(4), "its weight has no shape before the first call"),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", UNPROTECTED)
def test_what_is_not_protected_is_listed_with_the_reason(name: str) -> None:
    make, reason = UNPROTECTED[name]
    protected = protect(nn.ModuleDict({"odd": make(), "plain": nn.Linear(4, 4)}))
    assert protected.protected_layers == ["plain"]
    assert ("odd", reason) in protected.unprotected


def test_transformer_layers_do_not_go_around_their_checks() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    protected = protect(layer, on_fault="record")
    assert ("self_attn", "MultiheadAttention multiplies with its weights itself") in protected.unprotected
    assert protected.protected_layers == ["linear1", "linear2"]
    x = torch.randn(2, 5, 8)
    with torch.inference_mode():
        torch.testing.assert_close(protected(x), layer(x), rtol=1e-4, atol=1e-5)
        layer_named(protected, "linear1").register_forward_hook(spoil(1e6))
        protected(x)
    assert [event.layer for event in protected.events] == ["linear1"]

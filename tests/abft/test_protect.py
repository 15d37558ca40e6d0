"""What ``protect`` promises: the same model, checked."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import holdfast
from holdfast.abft import Event, Protected, protect
from holdfast.core import protocols
from holdfast.core.errors import FaultError, UsageError


class Net(nn.Module):
    """A bit of everything: groups, strides, a shared layer, normalisation, a layer used by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same", padding_mode="circular", bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.down = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, dilation=2, padding=2), nn.ReLU())
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = self.twice(torch.relu(self.twice(self.deep(x))))
        x = self.down(x).mean((2, 3)) * scale
        return self.head(x) / math.sqrt(self.head.in_features)


@pytest.fixture
def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 9, 11, generator=torch.Generator().manual_seed(1))


def _set(value: float, *, once: bool = True) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    """A forward hook that spoils one element of the output in place, as a third party's would."""
    calls: list[int] = []

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        if not (once and calls):
            index = np.unravel_index(output.numel() // 2, output.shape)
            output.detach()[tuple(map(int, index))] = value
        calls.append(1)

    return hook


def _layer(model: nn.Module, name: str) -> nn.Module:
    return dict(protocols.named_layers(model))[name]


def test_same_answer_and_no_event(net: Net, x: Tensor) -> None:
    protected = protect(net)
    assert protected.protected_layers == ["stem", "deep", "twice", "down.0", "head"]
    assert protected.unprotected == []
    assert torch.equal(protected(x, scale=2.0), net(x, scale=2.0))
    assert protected.events == []
    assert isinstance(protected, protocols.Protected)
    assert holdfast.protect is protect


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
    assert type(_layer(protected, "deep")) is nn.Conv2d
    assert protected.deep.kernel_size == (3, 3)  # attributes are seen through wrappers
    with pytest.raises(AttributeError, match="no_such"):
        _ = protected.no_such


@pytest.mark.parametrize("name", ["stem", "deep", "twice", "down.0", "head"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, 1e4, -50.0], ids=str)
def test_damaged_output_is_recomputed(net: Net, x: Tensor, name: str, value: float) -> None:
    protected = protect(net)
    clean = net(x)
    _layer(protected, name).register_forward_hook(_set(value))
    torch.testing.assert_close(protected(x), clean, rtol=1e-5, atol=1e-6)
    (event,) = protected.events
    assert isinstance(event, Event)
    assert (event.layer, event.scheme, event.action, event.corrected) == (name, "CoC-D", "recomputed", True)
    assert event.kind == ("deviation" if math.isfinite(value) else "non-finite")
    assert event.deviation > event.threshold > 0
    protected.clear_events()
    assert protected.events == []


def test_location_is_the_position_of_the_damage(net: Net, x: Tensor) -> None:
    protected = protect(net, on_fault="record")

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[1, 2, 4, 7] += 1000
        return output

    _layer(protected, "stem").register_forward_hook(hook)
    protected(x)
    assert protected.events[0].location == (4, 7)


def test_location_in_a_linear_layer() -> None:
    layer = nn.Linear(4, 3)
    protected = protect(layer, on_fault="record")

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output.index_put((torch.tensor(1), torch.tensor(2), torch.tensor(3)), torch.tensor(9e9))

    protocols.fault_site(protected).register_forward_hook(hook)
    protected(torch.randn(2, 5, 6, 4))
    assert protected.events[0].location == (2, 3)


@pytest.mark.parametrize("in_place", [False, True])
def test_damaged_input_inside_the_layer_is_seen(net: Net, x: Tensor, in_place: bool) -> None:
    """The checksum of the input is taken before the layer and its hooks run, also at batch 1."""
    protected = protect(net)

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        damaged = args[0].detach() if in_place else args[0].clone()
        damaged[0, 1, 2, 3] = 1e5
        return (damaged,)

    _layer(protected, "deep").register_forward_pre_hook(hook)
    if in_place:  # the input itself is lost, so nothing can be recomputed from it
        with pytest.raises(FaultError, match="'deep'"):
            protected(x[:1])
    else:
        torch.testing.assert_close(protected(x[:1]), net(x[:1]))
    assert protected.events[0].layer == "deep"


def test_damaged_weight_ends_in_an_error_not_in_a_wrong_answer(net: Net, x: Tensor) -> None:
    protected = protect(net)
    with torch.no_grad():
        net.twice.weight[3, 4] = 1e3  # the tensors are shared
    with pytest.raises(FaultError, match=r"'twice'.*weight is damaged") as info:
        protected(x)
    assert info.value.exit_code == 8
    assert [(e.action, e.corrected) for e in protected.events] == [("raised", False)]
    protected.refresh()
    assert torch.equal(protected(x), net(x))


def test_on_fault(net: Net, x: Tensor) -> None:
    recording = protect(net, on_fault="record")
    _layer(recording, "head").register_forward_hook(_set(math.nan))
    assert recording(x).isnan().sum() == 1
    assert [(e.action, e.corrected) for e in recording.events] == [("recorded", False)]

    raising = protect(net, on_fault="raise")
    _layer(raising, "head").register_forward_hook(_set(1e9))
    with pytest.raises(FaultError, match="'head'"):
        raising(x)
    assert torch.equal(raising(x), net(x))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_input_that_is_not_finite(net: Net, x: Tensor, value: float) -> None:
    protected = protect(net)
    x[0, 0, 0, 0] = value
    with pytest.raises(FaultError, match="non-finite input"):
        protected(x)
    recording = protect(net, on_fault="record")
    assert torch.equal(recording(x), net(x)) or net(x).isnan().any()
    assert recording.events[0].kind == "non-finite input"


def test_bit_flips_of_twice_the_threshold_are_found(net: Net, x: Tensor) -> None:
    """Every exponent and high mantissa bit of many outputs of every layer."""
    generator = torch.Generator().manual_seed(3)
    for name in ("stem", "deep", "down.0", "head"):
        protected = protect(net, on_fault="record")
        layer = _layer(protected, name)
        change: dict[str, float] = {}

        def hook(module: nn.Module, args: Any, output: Tensor, change: dict[str, float] = change) -> Tensor:
            damaged = output.clone()
            flat = damaged.view(-1)
            index = int(torch.randint(flat.numel(), (), generator=generator))
            bits = flat[index : index + 1].view(torch.int32)
            bits ^= -(2**31) if change["bit"] == 31 else 2 ** int(change["bit"])
            change["effect"] = abs(float(flat[index].double() - output.view(-1)[index].double()))
            return damaged

        layer.register_forward_hook(hook)
        found = 0
        for bit in (16, 20, 22, *range(23, 32)):
            for _ in range(4):
                change["bit"] = bit
                protected.clear_events()
                with torch.inference_mode():
                    protected(x)
                events = [e for e in protected.events if e.layer == name]
                tau = events[0].threshold if events else 0.0
                found += bool(events)
                if not events:
                    assert bit <= 22 or change["effect"] < 1e-3
                elif math.isfinite(events[0].deviation):
                    assert events[0].deviation > tau
        assert found >= 40


CONVOLUTIONS = st.fixed_dictionaries(
    {
        "kernel_size": st.integers(1, 3),
        "stride": st.integers(1, 3),
        "padding": st.integers(0, 2),
        "dilation": st.integers(1, 2),
        "padding_mode": st.sampled_from(["zeros", "circular", "reflect", "replicate"]),
        "bias": st.booleans(),
    }
)


@settings(deadline=None, max_examples=80)
@given(
    options=CONVOLUTIONS,
    groups=st.sampled_from([1, 2, 3]),
    n=st.integers(1, 4),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    layout=st.sampled_from(["contiguous", "channels_last", "strided", "unbatched"]),
    seed=st.integers(0, 2**31),
)
def test_any_convolution(
    options: dict[str, Any], groups: int, n: int, dtype: torch.dtype, layout: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(2 * groups, 3 * groups, groups=groups, **options).to(dtype)
    x = torch.randn(n, 2 * groups, 6, 7, generator=generator).to(dtype)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "strided":
        x = torch.randn(n, 2 * groups, 12, 7, generator=generator).to(dtype)[:, :, ::2]
    elif layout == "unbatched":
        x = x[0]
    protected = protect(layer)
    with torch.no_grad():
        assert torch.equal(protected(x), layer(x))
        assert protected.events == []
        protected.fault_site.fault_site.register_forward_hook(_set(math.nan))
        torch.testing.assert_close(protected(x), layer(x))
    assert [event.action for event in protected.events] == ["recomputed"]


@pytest.mark.parametrize(
    "shape", [(7,), (1, 7), (4, 7), (2, 3, 7), (2, 3, 5, 7), (0, 7), (0, 3, 7), (3, 0, 7)], ids=str
)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_shapes(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(7, 3, bias=bias)
    protected = protect(layer)
    x = torch.randn(shape)
    assert torch.equal(protected(x), layer(x))
    assert protected.events == []
    if x.numel():
        protected.fault_site.fault_site.register_forward_hook(_set(1e6))
        torch.testing.assert_close(protected(x), layer(x))
        assert len(protected.events) == 1


def test_empty_batch(net: Net) -> None:
    assert protect(net)(torch.empty(0, 3, 9, 11)).shape == (0, 5)


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
    _layer(twin, "head").register_forward_hook(_set(math.nan))
    twin(x)
    assert (len(twin.events), len(protected.events)) == (1, 0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_change_of_dtype(net: Net, x: Tensor, dtype: torch.dtype) -> None:
    protected = protect(copy.deepcopy(net)).to(dtype)
    assert torch.equal(protected(x.to(dtype)), net.to(dtype)(x.to(dtype)))
    assert protected.events == []


def test_autocast_widens_the_threshold(net: Net, x: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(protect(net, on_fault="raise")(x), net(x))


def test_training_mode_is_refused(net: Net, x: Tensor) -> None:
    protected = protect(net).train()
    with pytest.raises(UsageError, match=r"call \.eval\(\)"):
        protected(x)
    protected.eval()(x)


def test_inference_mode(net: Net, x: Tensor) -> None:
    with torch.inference_mode():
        assert torch.equal(protect(net)(x), net(x))


def test_two_threads_share_one_model(net: Net) -> None:
    protected = protect(net)
    inputs = [torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    clean = [net(x) for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        with torch.inference_mode():
            for _ in range(60):
                if not torch.equal(protected(inputs[number]), clean[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, protected.events) == ([], [])


def test_shared_layer_is_checked_at_each_use(net: Net, x: Tensor) -> None:
    protected = protect(net, on_fault="record")
    _layer(protected, "twice").register_forward_hook(_set(1e9, once=False))
    protected(x)
    assert [event.layer for event in protected.events if event.deviation > 1e8] == ["twice", "twice"]


class OwnForward(nn.Linear):
    """A subclass that does something else than its parent."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Masked(nn.Linear):
    """Multiplies with a masked weight, and says so by ``effective_weight``."""

    def effective_weight(self) -> Tensor:
        return self.weight * (self.weight > 0)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.effective_weight(), self.bias)


def test_masked_layers_are_protected() -> None:
    layer = Masked(6, 4)
    protected = protect(layer)
    assert protected.protected_layers == [""]
    x = torch.randn(5, 6)
    assert torch.equal(protected(x), layer(x))
    protected.fault_site.fault_site.register_forward_hook(_set(1e6))
    torch.testing.assert_close(protected(x), layer(x))


UNPROTECTED = {
    "own forward": (lambda: OwnForward(4, 4), "OwnForward has a forward of its own"),
    "parametrisation": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        "its weight is a parametrisation",
    ),
    "Conv1d": (lambda: nn.Conv1d(4, 4, 1), "Conv1d is not covered"),
    "transposed": (lambda: nn.ConvTranspose2d(4, 4, 1), "ConvTranspose2d is not covered"),
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
        _layer(protected, "linear1").register_forward_hook(_set(1e6))
        protected(x)
    assert [event.layer for event in protected.events] == ["linear1"]


BAD = {
    "plan": ({"plan": "fast.json"}, "plan: expected 'auto'"),
    "threshold": ({"threshold": "calibrated"}, "threshold: expected 'analytic'"),
    "on_fault": ({"on_fault": "ignore"}, "on_fault: expected one of correct, record, raise"),
}


@pytest.mark.parametrize("name", BAD)
def test_unknown_options(net: Net, name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(UsageError, match=message):
        protect(net, **options)


def test_what_cannot_be_protected(net: Net) -> None:
    with pytest.raises(UsageError, match="got function"):
        protect(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="protected already"):
        protect(protect(net))

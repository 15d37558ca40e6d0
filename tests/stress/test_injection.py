from __future__ import annotations

import pytest
import torch
from stress_support import GuardedNet, Net, flip_element, make_net
from torch import Tensor, nn

from holdfast.core.errors import FaultError, UsageError
from holdfast.stress import BitFlip, inject

X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
CONV_OUTPUT = BitFlip("conv1", "output", (0, 3, 5, 7), 30)


def capture(layer: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Inputs and outputs of ``layer`` as hooks registered later see them."""
    seen: list[tuple[Tensor, Tensor]] = []
    layer.register_forward_hook(lambda _, args, output: seen.append((args[0].clone(), output.clone())))
    return seen


def state(model: nn.Module) -> bytes:
    return b"".join(tensor.detach().numpy().tobytes() for tensor in model.state_dict().values())


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def expected(tensor: Tensor, fault: BitFlip) -> Tensor:
    copy = tensor.clone()
    assert fault.index is not None
    assert fault.bit is not None
    flip_element(copy, fault.index, fault.bit)
    return copy


def test_output_strikes_once() -> None:
    net = make_net()
    clean = net.conv1(X)
    with inject(net, [CONV_OUTPUT]) as injection:
        assert injection.fired == [False]
        first, second = net.conv1(X), net.conv1(X)
    assert injection.fired == [True]
    assert torch.equal(first, expected(clean, CONV_OUTPUT))
    assert torch.equal(second, clean)
    assert torch.equal(net.conv1(X), clean)


def test_persistent_output_strikes_every_call() -> None:
    net = make_net()
    fault = BitFlip("conv1", "output", (0, 3, 5, 7), 30, persistent=True)
    struck = expected(net.conv1(X), fault)
    with inject(net, [fault]):
        assert torch.equal(net.conv1(X), struck)
        assert torch.equal(net.conv1(X), struck)


def test_input_strikes_what_the_layer_reads_and_nothing_else() -> None:
    net = make_net()
    fault = BitFlip("conv1", "input", (1, 0, 2, 3), 29)
    x, clean = X.clone(), net(X)
    with inject(net, [fault]):
        faulty = net(x)
    assert torch.equal(x, X)
    assert torch.equal(faulty, net(expected(X, fault)))
    assert not torch.equal(faulty, clean)


def test_input_given_by_keyword() -> None:
    net = make_net()
    fault = BitFlip("head", "input", (0, 1), 31)
    features = torch.rand(2, 6)
    with inject(net, [fault]):
        assert torch.equal(net.head(input=features), net.head(expected(features, fault)))


def test_output_of_an_identity_is_not_its_input() -> None:
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    x = torch.ones(2, 2)
    with inject(model, [BitFlip("0", "output", (0, 0), 31)]):
        assert model(x)[0, 0] == -1
    assert torch.equal(x, torch.ones(2, 2))


def test_tuple_output() -> None:
    model = nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    x = torch.rand(1, 2, 3)
    clean, (hidden, _) = model(x)
    with inject(model, [BitFlip("0", "output", (0, 1, 2), 31)]):
        output, (after, _) = model(x)
    assert output[0, 1, 2] == -clean[0, 1, 2]
    assert torch.equal(after, hidden)


def test_weight_is_damaged_in_place_and_restored() -> None:
    net = make_net()
    before, storage = state(net), net.conv1.weight.data_ptr()
    with inject(net, [BitFlip("conv1", "weight", (1, 0, 2, 2), 30)]):
        assert net.conv1.weight.data_ptr() == storage
        assert state(net) != before
    assert state(net) == before


def test_a_repaired_weight_stays_repaired() -> None:
    net = make_net()
    before = state(net)
    pristine = net.conv1.weight.detach().clone()
    with inject(net, [BitFlip("conv1", "weight", (1, 0, 2, 2), 30)]):
        net.conv1.weight.data.copy_(pristine)
    assert state(net) == before


def test_flips_of_one_weight_are_undone_in_order() -> None:
    net = make_net()
    before = state(net)
    faults = [BitFlip("head", "weight", (0, 0), bit) for bit in (3, 3, 7, 31)]
    with inject(net, faults):
        assert state(net) != before
    assert state(net) == before


@pytest.mark.parametrize("site", ["weight", "input", "output"])
def test_exceptions_leave_no_trace(site: str) -> None:
    net = make_net()
    net.register_forward_hook(lambda *_: 1 // 0)
    before, count = state(net), hooks(net)
    with pytest.raises(ZeroDivisionError):
        with inject(net, [BitFlip("conv1", site, None, 30)]):  # type: ignore[arg-type]
            net(X)
    assert state(net) == before
    assert hooks(net) == count


def test_a_wrong_fault_after_a_right_one_leaves_no_trace() -> None:
    net = make_net()
    before, count = state(net), hooks(net)
    with pytest.raises(UsageError, match="unknown layer"):
        with inject(net, [BitFlip("conv1", "weight", None, 30), CONV_OUTPUT, BitFlip("conv9")]):
            pytest.fail("the block must not run")
    assert state(net) == before
    assert hooks(net) == count


def test_open_faults_are_filled_in_and_replay() -> None:
    net = make_net()
    sites = ("weight", "input", "output")
    with inject(net, [BitFlip("block.2", site) for site in sites], seed=7) as injection:  # type: ignore[arg-type]
        first = net(X)
    assert all(fault.index is not None and fault.bit is not None for fault in injection.faults)
    with inject(net, injection.faults, seed=8):
        assert torch.equal(net(X).nan_to_num(), first.nan_to_num())


def test_unknown_layer_lists_the_layers() -> None:
    with pytest.raises(UsageError, match=r"conv1, block\.0, block\.1, block\.2, head"):
        with inject(make_net(), [BitFlip("conv2")]):
            pass


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (BitFlip("conv1", "output", (3, 0, 0, 0), 30), r"shape \(3, 4, 8, 8\)"),
        (BitFlip("conv1", "output", (0, 0), 30), r"shape \(3, 4, 8, 8\)"),
        (BitFlip("conv1", "input", (0, 2, 0, 0), 30), r"shape \(3, 2, 8, 8\)"),
        (BitFlip("conv1", "weight", (4, 0, 0, 0), 30), r"shape \(4, 2, 3, 3\)"),
        (BitFlip("conv1", "weight", (0, 0, 0, 0), 32), "0 to 31"),
        (BitFlip("conv1", "output", (0, 0, 0, 0), -1), "0 to 31"),
        (BitFlip("block.1", "weight", (0,), 1), "a weight"),
    ],
    ids=["image", "dimensions", "channel", "kernel", "bit too high", "bit too low", "no weight"],
)
def test_wrong_place(fault: BitFlip, message: str) -> None:
    net = make_net()
    with pytest.raises(UsageError, match=message):
        with inject(net, [fault]):
            net(X)


def test_a_fault_that_never_struck() -> None:
    net = make_net()
    fault = BitFlip("unused", "output", (0, 0), 1)
    with pytest.raises(UsageError, match="no call of unused"):
        with inject(net, [fault]):
            net(X)
    with inject(net, [fault], must_fire=False) as injection:
        net(X)
    assert injection.fired == [False]


def test_a_computed_weight_is_refused() -> None:
    class Masked(nn.Linear):
        def effective_weight(self) -> Tensor:
            return self.weight * 2

    with pytest.raises(UsageError, match="computed at every call"):
        with inject(nn.Sequential(Masked(2, 2)), [BitFlip("0", "weight", (0, 0), 1)]):
            pass


def test_the_stored_part_of_an_effective_weight_is_damaged() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("dense", torch.ones(2, 2))

        def effective_weight(self) -> Tensor:
            return self.dense

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.dense

    model = nn.Sequential(Packed())
    with inject(model, [BitFlip("0", "weight", (0, 0), 31)]):
        assert model(torch.ones(1, 2)).tolist() == [[0, 2]]
    assert model(torch.ones(1, 2)).tolist() == [[2, 2]]


def test_gradients_flow_past_a_fault() -> None:
    net = make_net()
    x = X.clone().requires_grad_()
    with inject(net, [CONV_OUTPUT, BitFlip("head", "input", (0, 0), 31)]):
        net(x).nan_to_num().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("site", ["input", "output"])
def test_guarded_layers_are_hit_before_they_are_checked(site: str) -> None:
    clean = make_net()(X)
    guarded = GuardedNet("correct")
    with inject(guarded, [BitFlip("conv1", site, (0, 1, 2, 3), 30)]):  # type: ignore[arg-type]
        output = guarded(X)
    assert [event["corrected"] for event in guarded.events] == [True]
    assert torch.equal(output, clean)


def test_a_guard_that_refuses_is_heard() -> None:
    guarded = GuardedNet("raise")
    with pytest.raises(FaultError):
        with inject(guarded, [BitFlip("block.2", "output", (0, 1, 2, 3), 30)]):
            guarded(X)


def test_names_are_those_of_the_unprotected_model() -> None:
    guarded = GuardedNet()
    with inject(guarded, [BitFlip("conv1", "weight", (0, 0, 0, 0), 30)]):
        assert guarded.net.conv1.layer.weight[0, 0, 0, 0] != make_net().conv1.weight[0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_floats(dtype: torch.dtype) -> None:
    net = Net().to(dtype).eval()
    x = X.to(dtype)
    clean = net.conv1(x)
    fault = BitFlip("conv1", "output", (0, 0, 0, 0), torch.finfo(dtype).bits - 1)
    with inject(net, [fault]):
        assert torch.equal(net.conv1(x), expected(clean, fault))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_layout_does_not_matter(memory_format: torch.memory_format) -> None:
    net = make_net().to(memory_format=memory_format)
    x = X.contiguous(memory_format=memory_format)
    clean = net.conv1(x)
    with inject(net, [CONV_OUTPUT]):
        assert torch.equal(net.conv1(x), expected(clean, CONV_OUTPUT))

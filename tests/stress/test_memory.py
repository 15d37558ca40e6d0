from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stress_support import STREAM, GuardedNet, lines, make_net, rates, run
from torch import Tensor, nn

from holdfast.core.errors import FaultError, UsageError
from holdfast.stress import MemoryFaults
from holdfast.stress.memory import _bytes, _draw, _flip

X, Y = STREAM.x[:4], STREAM.y[:4]
WEIGHTS = 2 * 4 * 9 + 4 * 6 * 9 + 6 * 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bits(model: nn.Module) -> Tensor:
    state = model.state_dict().values()
    return torch.cat([_bytes(tensor.clone()) for tensor in state if tensor.is_floating_point()])


def flipped(stressor: MemoryFaults, model: nn.Module, seed: int = 0) -> int:
    """How many bits of the state differ while the stressor is at work; none may afterwards."""
    before = bits(model)
    with stressor.apply(model, X, Y, generator(seed)) as stressed:
        during = bits(model)
        labelled = stressed.labels["memory_flips"]
    assert torch.equal(bits(model), before)
    found = int(np.unpackbits((before ^ during).numpy()).sum())
    if stressor.ecc == "none":
        assert found <= labelled
    return found


def test_the_number_of_flips_is_binomial() -> None:
    total = WEIGHTS * 32
    counts = [flipped(MemoryFaults(ber=0.01), make_net(), seed) for seed in range(20)]
    # mean 96, standard deviation of the mean of 20: 2.2
    assert abs(np.mean(counts) - 0.01 * total) < 9
    assert flipped(MemoryFaults(ber=1.0), make_net()) == total
    assert flipped(MemoryFaults(ber=0.0), make_net()) == 0


def test_everything_stored_may_be_hit() -> None:
    net = make_net()
    total = sum(t.numel() for t in net.state_dict().values() if t.is_floating_point()) * 32
    assert flipped(MemoryFaults(ber=1.0, contents="all"), net) == total
    assert flipped(MemoryFaults(ber=1.0, layers=("head",)), net) == 6 * 2 * 32


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_flips_are_where_they_were_drawn(memory_format: torch.memory_format) -> None:
    tensor = torch.ones(2, 3, 3, 3).contiguous(memory_format=memory_format)
    _flip(_bytes(tensor), np.array([31, 64 + 32 + 31, 26 * 64 + 63]), "none")
    flat = tensor.permute(0, 2, 3, 1).flatten() if memory_format is torch.channels_last else tensor.flatten()
    assert (flat < 0).nonzero().flatten().tolist() == [0, 3, 53]


def test_a_tensor_that_does_not_fill_its_last_word() -> None:
    tensor = torch.ones(3)
    where, former, _ = _flip(_bytes(tensor), np.array([64 + 31, 64 + 63]), "none")
    assert tensor.tolist() == [1, 1, -1]
    assert len(where) == len(former) == 4


@pytest.mark.parametrize("places", [[5], [70]], ids=["data", "check"])
def test_ecc_corrects_one_flip_a_word(places: list[int]) -> None:
    tensor = torch.randn(4, generator=generator())
    before = tensor.clone()
    _, _, detected = _flip(_bytes(tensor), np.array(places), "secded")
    assert torch.equal(tensor, before)
    assert detected == 0


def test_ecc_detects_two_flips_a_word() -> None:
    tensor = torch.randn(4, generator=generator())
    assert _flip(_bytes(tensor), np.array([5, 70, 72 + 1]), "secded")[2] == 1


def test_draws_are_spread_over_tensors() -> None:
    hit = _draw([3, 1, 4], 1.0, "secded", np.random.default_rng(0))
    assert {number: len(flips) for number, flips in hit.items()} == {0: 3 * 72, 1: 72, 2: 4 * 72}
    assert all((np.sort(flips) == np.arange(len(flips))).all() for flips in hit.values())


def test_an_uncorrectable_word_stops_the_run() -> None:
    stressor = MemoryFaults(ber=0.05, ecc="secded")
    with (
        stressor.apply(make_net(), X, Y, generator()) as stressed,
        pytest.raises(FaultError, match="wrong bits"),
    ):
        stressed.model(stressed.x)
    stressor = replace(stressor, uncorrectable="use")
    with stressor.apply(make_net(), X, Y, generator()) as stressed:
        assert stressed.model(stressed.x).shape == (4, 2)


@pytest.mark.parametrize("ecc", ["none", "secded"])
def test_activations_are_read_damaged(ecc: str) -> None:
    net, x = make_net(), X.clone()
    clean = net(x)
    stressor = MemoryFaults(ber=4e-4, ecc=ecc, activations=True, layers=("conv1",))  # type: ignore[arg-type]
    seen: list[Tensor] = []
    with torch.no_grad(), stressor.apply(net, x, Y, generator()) as stressed:
        handle = net.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
        stressed.model(stressed.x)
        handle.remove()
    assert torch.equal(x, X)
    assert torch.equal(net(x), clean)
    # 512 numbers, 7 flips expected in 256 words: without ECC all arrive, with it each is corrected.
    wrong = int((seen[0] != X).sum())
    assert wrong == 0 if ecc == "secded" else 1 < wrong < 15


def test_the_copy_that_computes_is_hit_as_well() -> None:
    class Store:
        def __init__(self, weight: Tensor) -> None:
            self.weight, self.pristine = weight.clone(), weight.clone()

        def read(self) -> Tensor:
            return self.weight.clone()

        def write(self, weight: Tensor) -> None:
            self.weight = weight

        def restore(self) -> None:
            self.weight = self.pristine

    net = make_net()
    store = Store(2 * net.head.weight.detach())
    net.computing_weights = lambda layer: store if layer == "head" else None  # type: ignore[assignment]
    with MemoryFaults(ber=0.02, layers=("head",)).apply(net, X, Y, generator()):
        changed = (net.head.weight != make_net().head.weight).flatten()
        assert 0 < changed.sum() < 12
        assert torch.equal(changed, (store.weight != store.pristine).flatten())
    assert store.weight is store.pristine


def test_accuracy_against_the_fault_rate(tmp_path: Path) -> None:
    stressors = [
        MemoryFaults(ber=ber, ecc=ecc)  # type: ignore[arg-type]
        for ber in (0.0, 1e-5, 3e-3)
        for ecc in ("none", "secded")
    ]
    records = run(tmp_path, stressors=stressors, trials=40)
    clean = rates(records, ber=0.0, ecc="none")["clean_accuracy"]
    assert rates(records, ber=0.0, ecc="none")["accuracy"] == clean
    assert rates(records, ber=3e-3, ecc="none")["critical_sdc_rate"] > 0.1  # type: ignore[operator]
    assert rates(records, ber=1e-5, ecc="secded")["masked_rate"] == 1
    assert rates(records, ber=3e-3, ecc="secded")["detected_rate"] > 0.5  # type: ignore[operator]
    first = [line for line in lines(tmp_path) if line["stressor"] == "memory_faults"]
    assert {line["labels"]["memory_flips"] for line in first} == {0}


def test_guarded_models_are_hit_like_plain_ones() -> None:
    stressor = MemoryFaults(ber=1e-3)
    changed = []
    for model, net in ((plain := make_net(), plain), (guarded := GuardedNet(), guarded.net)):
        with stressor.apply(model, X, Y, generator()):
            changed.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(changed[0].nan_to_num(), changed[1].nan_to_num())


@pytest.mark.parametrize(
    "options",
    [
        {"ber": -1},
        {"ber": float("nan")},
        {"ecc": "chipkill"},
        {"contents": "disk"},
        {"uncorrectable": "pray"},
        {"contents": "all", "layers": ("head",)},
    ],
    ids=str,
)
def test_wrong_options(options: dict) -> None:
    with pytest.raises(UsageError):
        MemoryFaults(**options)

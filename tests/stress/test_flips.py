from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from stress_support import STREAM, GuardedNet, make_net, read_element, run

from holdfast.core.errors import UsageError
from holdfast.stress import BitFlips, Fault, Faults, sample_faults
from holdfast.stress.injection import inject
from holdfast.stress.sites import places

X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.zeros(3, dtype=torch.long)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_called_layers_with_a_kernel_are_hit() -> None:
    faults = sample_faults(make_net(), X, generator(), n=200, sites=("weight", "input", "output"))
    assert {fault.layer for fault in faults} == {"conv1", "block.2", "head"}
    assert {fault.site for fault in faults} == {"weight", "input", "output"}
    assert {fault.bit for fault in faults} == set(range(32))


def test_every_element_is_drawn_equally() -> None:
    net = make_net()
    faults = sample_faults(net, X, generator(), n=1200, layers=["head"], sites=("weight",))
    counts = Counter(fault.index for fault in faults)
    assert len(counts) == 12
    # 100 expected, standard deviation 9.6
    assert max(abs(count - 100) for count in counts.values()) < 40


def test_sampled_faults_fit() -> None:
    net = make_net()
    for fault in sample_faults(net, X, generator(), n=60, sites=("weight", "input", "output")):
        with inject(net, [fault]) as injection:
            net(X)
        assert injection.fired == [True]


def test_plain_and_guarded_models_meet_the_same_faults() -> None:
    draws = [sample_faults(model, X, generator(), n=50) for model in (make_net(), GuardedNet())]
    assert draws[0] == draws[1]


def test_campaign_turns_balance_layers_and_bits() -> None:
    net, stressor = make_net(), BitFlips(bits="exponent")
    faults = [stressor.at_trial(trial, 3).draw(net, X, generator(trial))[0] for trial in range(96)]
    assert set(Counter(fault.layer for fault in faults).values()) == {32}
    assert set(Counter(fault.bit for fault in faults).values()) == {12}
    # layers and bits are not tied to each other or to the trial's number
    assert len({(fault.layer, fault.bit) for fault in faults}) > 20
    assert len({fault.layer for fault in faults[::3]}) == 3


def test_labels_say_what_was_hit() -> None:
    with BitFlips(bits=(30,), layers=("conv1",)).apply(make_net(), X, Y, generator()) as stressed:
        labels = stressed.labels
        stressed.model(stressed.x)
    assert labels["layer"] == "conv1"
    assert labels["bit"] == 30
    assert labels["bit_class"] == "exponent"
    assert len(str(labels["index"]).split(",")) == 4


def test_several_flips_have_no_single_label() -> None:
    with BitFlips(n=4).apply(make_net(), X, Y, generator()) as stressed:
        stressed.model(stressed.x)
    assert stressed.labels == {}


def test_a_model_that_is_not_called_is_an_error() -> None:
    with pytest.raises(UsageError, match="never struck"):
        with BitFlips().apply(make_net(), X, Y, generator()):
            pass


@pytest.mark.parametrize(
    "options",
    [{"site": "moon"}, {"bits": "most"}, {"bits": []}, {"bits": [64]}, {"n": 0}],
    ids=str,
)
def test_wrong_options(options: dict) -> None:
    with pytest.raises(UsageError):
        BitFlips(**options)


@pytest.mark.parametrize("options", [{"layers": ["unused"]}, {"layers": ["conv9"]}, {"bits": [40]}], ids=str)
def test_options_that_do_not_fit_the_model(options: dict) -> None:
    with pytest.raises(UsageError):
        with BitFlips(**options).apply(make_net(), X, Y, generator()):
            pass


def test_a_model_without_weights() -> None:
    with pytest.raises(UsageError, match="a layer with a weight"):
        sample_faults(torch.nn.ReLU(), X, generator())


# ---- Faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["weight", "input", "output", "accumulator"])
@pytest.mark.parametrize("effect", ["flip", "random", "inf", "-inf", "nan", "large"])
def test_every_effect_strikes_every_site(site: str, effect: str) -> None:
    net = make_net()
    (fault,) = Faults(sites=(site,), effect=effect, layers=("conv1",)).draw(net, X, generator())  # type: ignore[arg-type]
    with torch.no_grad(), inject(net, [fault]) as injection:
        net(X)
    assert injection.fired == [True]
    (struck,) = injection.faults
    assert (struck.bit is None) == (effect != "flip")
    assert (struck.seed is None) == (effect != "random")


@pytest.mark.parametrize(
    ("effect", "value"),
    [("inf", math.inf), ("-inf", -math.inf), ("nan", math.nan), ("large", 1e38)],
)
def test_stuck_values(effect: str, value: float) -> None:
    net = make_net()
    with torch.no_grad(), inject(net, [Fault("conv1", "output", (0, 1, 2, 3), effect=effect)]):  # type: ignore[arg-type]
        out = net.conv1(X)
    assert float(out[0, 1, 2, 3]) == pytest.approx(value, nan_ok=True)
    half = net.bfloat16()
    with torch.no_grad(), inject(half, [Fault("head", "weight", (0, 1), effect=effect)]):  # type: ignore[arg-type]
        assert float(half.head.weight[0, 1]) == pytest.approx(value, rel=1e-2, nan_ok=True)


def test_a_burst_is_adjacent_bits() -> None:
    net = make_net()
    before = read_element(net.head.weight, (1, 2))
    with inject(net, [Fault("head", "weight", (1, 2), 29, burst=3)]):
        assert (read_element(net.head.weight, (1, 2)) ^ before) & 0xFFFFFFFF == 0b111 << 29
    with (
        pytest.raises(UsageError, match="0 to 31"),
        inject(net, [Fault("head", "weight", (1, 2), 30, burst=3)]),
    ):
        pass
    stressor = Faults(sites=("weight",), bits="exponent", burst=4)
    assert max(stratum.bit or 0 for stratum in stressor.strata(net, X)) == 28


@torch.no_grad()
def test_a_row_of_an_output_and_a_column_of_a_weight() -> None:
    net = make_net()
    clean = net.conv1(X)
    with inject(net, [Fault("conv1", "output", (1, 2, 3, 4), 31, pattern="row", extent=2)]):
        hit = (net.conv1(X) != clean).nonzero().tolist()
    assert hit == [[1, m, 3, w] for m in range(4) for w in (4, 5)]
    weight = net.conv1.weight.clone()
    with inject(net, [Fault("conv1", "weight", (1, 0, 2, 2), 31, pattern="column")]):
        hit = (net.conv1.weight != weight).nonzero().tolist()
    assert hit == [[m, 0, 2, 2] for m in range(4)]
    assert torch.equal(net.conv1.weight, weight)


@torch.no_grad()
def test_a_resident_fault_is_seen_by_all_readers_and_undone() -> None:
    net, x = make_net(), X.clone()
    for resident in (False, True):
        seen = []
        with inject(net, [Fault("conv1", "input", (0, 0, 0, 0), 31, resident=resident)]):
            net.conv1(x)
            seen.append(torch.equal(x, X))
        assert seen == [not resident]
        assert torch.equal(x, X)


def test_strata_take_turns_and_are_weighted_by_exposure() -> None:
    net = make_net()
    stressor = Faults(sites=("weight", "output"), bits=(30, 3))
    strata = stressor.strata(net, X)
    assert len(strata) == 3 * 2 * 2
    faults = [stressor.at_trial(trial, 5).draw(net, X, generator(trial))[0] for trial in range(36)]
    counts = Counter((fault.layer, fault.site, fault.bit) for fault in faults)
    assert set(counts.values()) == {3}
    assert {stratum.place.elements for stratum in strata if stratum.place.layer == "head"} == {12, 6}


def test_pooled_rates_and_those_of_each_stratum(tmp_path: Path) -> None:
    stressor = Faults(sites=("weight", "output"), bits=(30, 0), by_stratum=True)
    records = run(tmp_path, stressors=[stressor], trials=48)
    by_metric = {r.metric: r for r in records if not {"layer", "bit", "bit_class", "rung"} & r.labels.keys()
                 and r.labels.get("site") is None}  # fmt: skip
    pooled, plain = by_metric["pooled_sdc_rate"], by_metric["sdc_rate"]
    cells = [r for r in records if r.metric == "sdc_rate" and {"layer", "site", "bit"} <= r.labels.keys()]
    assert len(cells) == 12
    assert {cell.n for cell in cells} == {4}
    exposure = {(p.layer, p.site): p.elements for p in places(make_net(), STREAM.x[:16])}
    weights = [exposure[cell.labels["layer"], cell.labels["site"]] for cell in cells]  # type: ignore[index]
    expected = sum(w * (c.value or 0) for w, c in zip(weights, cells, strict=True)) / sum(weights)  # type: ignore[operator]
    assert pooled.value == pytest.approx(expected)
    assert plain.value == pytest.approx(sum(c.value or 0 for c in cells) / 12)
    assert pooled.interval is not None
    assert plain.interval is not None
    assert pooled.interval.high - pooled.interval.low > plain.interval.high - plain.interval.low
    sites = {r.labels["site"]: r.n for r in records if r.metric == "sdc_rate" and "site" in r.labels
             and not {"layer", "bit"} & r.labels.keys()}  # fmt: skip
    assert sites == {"weight": 24, "output": 24}


def test_models_without_checksums_have_none_to_hit() -> None:
    for model in (make_net(), GuardedNet()):
        with pytest.raises(UsageError, match="protected"):
            Faults(sites=("co5",)).draw(model, X, generator())
        with pytest.raises(UsageError, match="checksums"), inject(model, [Fault("conv1", "co5")]):
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"sites": ()},
        {"sites": ("moon",)},
        {"effect": "melt"},
        {"pattern": "spiral"},
        {"extent": 0},
        {"burst": 0},
        {"effect": "nan", "burst": 2},
        {"resident": True},
        {"storage": "tape"},
        {"n": 0},
    ],
    ids=str,
)
def test_wrong_options_of_faults(options: dict) -> None:
    with pytest.raises(UsageError):
        Faults(**options)


class Store:
    """Weights in a layout of their own that compute in place of the parameter."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.pristine = weight.detach() * 2
        self.restore()

    def read(self) -> torch.Tensor:
        return self.weight.clone()

    def write(self, weight: torch.Tensor) -> None:
        self.weight = weight

    def restore(self) -> None:
        self.weight = self.pristine


@pytest.mark.parametrize("storage", ["both", "parameter", "computing"])
def test_copies_that_compute_are_hit_as_asked(storage: str) -> None:
    net = make_net()
    store = Store(net.head.weight)
    net.computing_weights = lambda layer: store if layer == "head" else None  # type: ignore[assignment]
    parameter = net.head.weight.detach().clone()
    with inject(net, [Fault("head", "weight", (1, 2), 31, storage=storage)]):  # type: ignore[arg-type]
        for current, former, hit in (
            (net.head.weight, parameter, storage != "computing"),
            (store.weight, store.pristine, storage != "parameter"),
        ):
            assert (current != former).nonzero().tolist() == ([[1, 2]] if hit else [])
    assert store.weight is store.pristine
    assert torch.equal(net.head.weight, parameter)
    with inject(net, [Fault("conv1", "weight", (0, 0, 0, 0), 31, storage=storage)]):  # type: ignore[arg-type]
        assert net.conv1.weight[0, 0, 0, 0] == -make_net().conv1.weight[0, 0, 0, 0]

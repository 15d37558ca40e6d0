from __future__ import annotations

from collections import Counter

import pytest
import torch
from stress_support import GuardedNet, make_net

from holdfast.core.errors import UsageError
from holdfast.stress import BitFlips, sample_faults
from holdfast.stress.injection import inject

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

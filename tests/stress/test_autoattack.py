from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from linear_support import Linear, LinearStream, robust
from stress_support import ArrayStream, make_net
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.stress import PGD, AutoAttack
from holdfast.testing import check_stressor

EPS = 0.02


def attacked(attack: Any, model: nn.Module, x: Tensor, y: Tensor, seed: int = 1) -> Tensor:
    with attack.apply(model, x, y, torch.Generator().manual_seed(seed)) as stressed:
        return stressed.x


def right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


def test_finds_exactly_what_is_not_robust() -> None:
    """The oracle: a linear classifier is robust where its margin exceeds ε‖w‖₁, and nowhere else."""
    model = Linear(classes=4)
    stream = LinearStream(model, 30, wrong=0)
    known = robust(model, stream.x, stream.y, torch.tensor(EPS))
    assert 2 < known.sum() < 28
    assert torch.equal(
        right(model, attacked(AutoAttack(eps=EPS), model, stream.x, stream.y), stream.y), known
    )


@pytest.mark.parametrize(
    ("classes", "eps"), [(2, 0.02), (3, 0.02), pytest.param(12, 0.006, marks=pytest.mark.slow)]
)
def test_few_and_many_classes_are_attacked_as_strongly(classes: int, eps: float) -> None:
    model = Linear(classes)
    stream = LinearStream(model, 16, wrong=0)
    attack = AutoAttack(eps=eps, attacks=[n for n, _ in AutoAttack(eps=eps).stages(classes) if n != "square"])
    known = robust(model, stream.x, stream.y, torch.tensor(eps))
    assert 2 < known.sum() < 14
    assert torch.equal(right(model, attacked(attack, model, stream.x, stream.y), stream.y), known)


def test_pgd_is_exact_where_there_is_one_direction() -> None:
    model = Linear(classes=2)
    stream = LinearStream(model, 40, wrong=0)
    known = robust(model, stream.x, stream.y, torch.tensor(EPS))
    assert 0 < known.sum() < 40
    assert torch.equal(right(model, attacked(PGD(eps=EPS), model, stream.x, stream.y), stream.y), known)


@pytest.mark.parametrize("unit_gev", [(1.0, 4.0), (2.0, None)], ids=["two radii", "a channel spared"])
def test_radii_in_gev_and_channels_that_are_no_energies(unit_gev: tuple[float | None, ...]) -> None:
    model = Linear(classes=4)
    stream = LinearStream(model, 30, wrong=0)
    radius = torch.tensor([0.06 / unit if unit else 0.0 for unit in unit_gev]).reshape(1, 2, 1, 1)
    known = robust(model, stream.x, stream.y, radius)
    assert 0 < known.sum() < 30
    attack = AutoAttack(eps_gev=0.06, unit_gev=unit_gev, attacks=["apgd-ce", "apgd-t", "fab-t"])
    found = attacked(attack, model, stream.x, stream.y)
    assert torch.equal(right(model, found, stream.y), known)
    assert ((found - stream.x).abs() <= radius * (1 + 1e-5) + 1e-7).all()
    assert (found[:, 1] == stream.x[:, 1]).all() == (unit_gev[1] is None)


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t"])
def test_each_attack_alone(name: str) -> None:
    """Stays in the ball and the range, breaks nothing that is robust, and leaves alone what it breaks not."""
    model = Linear(classes=4)
    stream = LinearStream(model, 16, wrong=0)
    found = attacked(AutoAttack(eps=EPS, attacks=[name]), model, stream.x, stream.y)
    still = right(model, found, stream.y)
    assert not still.all()
    assert still[robust(model, stream.x, stream.y, torch.tensor(EPS))].all()
    assert torch.equal(found[still], stream.x[still])
    assert (found - stream.x).abs().max() <= EPS + 1e-6


def test_says_which_attacks_run() -> None:
    attack = AutoAttack(eps=0.1)
    assert {classes: [name for name, _ in attack.stages(classes)] for classes in (2, 3, 4, 100)} == {
        2: ["apgd-ce", "fab-t", "square"],
        3: ["apgd-ce", "apgd-dlr", "fab-t", "square"],
        4: ["apgd-ce", "apgd-t", "fab-t", "square"],
        100: ["apgd-ce", "apgd-t", "fab-t", "square"],
    }
    stream = LinearStream(Linear(2), 4)
    with AutoAttack(eps=1.0).apply(Linear(2), stream.x, stream.y, torch.Generator()) as stressed:
        assert stressed.labels == {"attacks": "apgd-ce+fab-t+square"}
    assert attack.labels == {"eps": 0.1, "attacks": "standard"}
    assert AutoAttack(eps=0.1, attacks="fab").labels == {"eps": 0.1, "attacks": "fab"}


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=str)
def test_one_logit_counts_as_two_classes(shape: tuple[int, ...]) -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1).sum(1) - 9).reshape(shape)

    stream = LinearStream(Linear(2), 20)
    total = stream.x.flatten(1).sum(1) - 9
    y = (total > 0).long()
    found = attacked(AutoAttack(eps=EPS, attacks=["apgd-ce", "fab-t"]), Single(), stream.x, y)
    still = (found.flatten(1).sum(1) - 9 > 0).long() == y
    assert torch.equal(still, total.abs() > EPS * 18)
    assert 0 < still.sum() < 20


def test_a_channels_last_model_and_inference_mode() -> None:
    stream = ArrayStream(6, channels=3)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4)).eval()
    net.to(memory_format=torch.channels_last)
    with torch.no_grad():
        y = net(stream.x).argmax(1)
    attack = AutoAttack(eps=0.3, attacks=["apgd-ce", "apgd-t"])
    truth = attacked(attack, net, stream.x, y)
    with torch.inference_mode():
        x = stream.x.clone().to(memory_format=torch.channels_last)
        assert torch.equal(attacked(attack, net, x, y.clone()), truth)
    assert not right(net, truth, y).all()


def test_is_quiet_and_gives_the_trace_function_back(capfd: pytest.CaptureFixture[str]) -> None:
    model, before = make_net(), sys.gettrace()
    stream = ArrayStream(6)

    def trace(frame: Any, event: str, argument: Any) -> None:
        return None

    sys.settrace(trace)
    try:
        attacked(AutoAttack(eps=0.1, attacks=["apgd-ce"]), model, stream.x, stream.y)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert capfd.readouterr() == ("", "")


def test_fab_leaves_no_gradient_behind() -> None:
    stream = ArrayStream(1)
    check_stressor(AutoAttack(eps=0.1, attacks=["fab-t"]), make_net(), stream.x, stream.y)


def test_zero_radius_and_no_images() -> None:
    model, stream = make_net(), ArrayStream(6)
    assert torch.equal(attacked(AutoAttack(eps=0.0), model, stream.x, stream.y), stream.x)
    assert len(attacked(AutoAttack(eps=0.1), model, stream.x[:0], stream.y[:0])) == 0


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.rand(len(x), 2)


@pytest.mark.parametrize(
    ("attack", "x", "message"),
    [
        (AutoAttack(eps=0.1, attacks=["apgd-dlr"]), ArrayStream(4).x, "at least 3 classes"),
        (AutoAttack(eps=0.1, attacks=["apgd-t"]), ArrayStream(4).x, "at least 4 classes"),
        (AutoAttack(eps=0.1), ArrayStream(4).x.flatten(1), "images"),
        (AutoAttack(eps=0.1), ArrayStream(4).x * 255, "check the unit"),
        (AutoAttack(eps=0.1), ArrayStream(4).x - 1, "check the unit"),
        (AutoAttack(eps=0.1, value_range=(None, 1)), ArrayStream(4).x, "lower bound"),
        (
            AutoAttack(eps_gev=0.1, unit_gev=(1.0, 2.0), value_range=(0, 1)),
            ArrayStream(4).x,
            "one radius for all channels",
        ),
    ],
    ids=["dlr", "targeted dlr", "no images", "pixels to 255", "below the range", "open below", "two radii"],
)
def test_what_it_refuses(attack: Any, x: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attacked(attack, make_net(), x, ArrayStream(4).y)


def test_refuses_a_model_that_draws_at_random() -> None:
    with pytest.raises(UsageError, match="answers the same batch alike"):
        attacked(AutoAttack(eps=0.1), Random(), ArrayStream(4).x, ArrayStream(4).y)


@pytest.mark.parametrize("options", [{"attacks": ["gremlin"]}, {"attacks": []}, {"eps": 8.0}], ids=str)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        AutoAttack(**{"eps": 0.1, **options})


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UsageError, match=r"pip install 'holdfast\[attacks\]'"):
        attacked(AutoAttack(eps=0.1), make_net(), ArrayStream(4).x, ArrayStream(4).y)

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from stress_support import ArrayStream, GuardedNet, make_net

from holdfast import stress
from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.testing import check_stressor

STREAM = ArrayStream(6)


@pytest.mark.parametrize("model", [make_net, GuardedNet], ids=["plain", "guarded"])
@pytest.mark.parametrize("info", [STREAM.info, None], ids=["with units", "without units"])
@pytest.mark.parametrize("name", stress.stressors.names())
def test_every_stressor_keeps_the_contract(name: str, info: object, model: type) -> None:
    # The whole standard version takes seconds; the contract is the same whatever it runs.
    options = {"attacks": ["apgd-ce"]} if name == "autoattack" else {}
    check_stressor(stress.create(name, info=info, **options), model(), STREAM.x, STREAM.y)


@pytest.mark.parametrize("site", ["weight", "input", "output"])
def test_flips_keep_the_contract_at_every_site(site: str) -> None:
    stressor = stress.create("bit_flips", site=site, bits=[30, 23], n=3, persistent=True)
    check_stressor(stressor, make_net(), STREAM.x, STREAM.y)


def test_options_come_from_json() -> None:
    options = json.loads('{"site": "weight", "bits": [30, 29], "layers": ["conv1"]}')
    assert stress.create("bit_flips", **options) == stress.BitFlips("weight", (30, 29), ("conv1",))


def test_units_come_from_the_data_unless_given() -> None:
    info = SimpleNamespace(unit_gev=[50.0, None], value_range=(0.0, 4.0))
    assert stress.create("pgd", info=info, eps=0.1) == stress.PGD(
        eps=0.1, unit_gev=(50.0, None), value_range=(0.0, 4.0)
    )
    assert stress.create("pgd", info=info, unit_gev=1.0, eps=0.1).unit_gev == (1.0,)  # type: ignore[attr-defined]
    assert stress.create("dead_channels", info=info, rate=0.5) == stress.DeadChannels(0.5)


def test_unknown_names() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"autoattack, bit_flips, dead_channels, faults, .*, none, pgd",
    ):
        stress.create("gremlins")
    with pytest.raises(UsageError, match="options site, bits"):
        stress.create("bit_flips", colour=1)


class TestContractSuite:
    """The suite itself must notice what it promises to notice."""

    @pytest.mark.parametrize(
        ("sin", "message"),
        [
            ("weight", "left a trace"),
            ("hook", "left a trace"),
            ("input", "left a trace"),
            ("training", "left a trace"),
            ("gradient", "left a trace"),
            ("global random state", "left a trace"),
            ("unseeded", "another"),
            ("swallow", "swallows"),
        ],
    )
    def test_sins(self, sin: str, message: str) -> None:
        with pytest.raises(AssertionError, match=message):
            check_stressor(Sinner(sin), make_net(), STREAM.x.clone(), STREAM.y)


class Sinner:
    """A stressor that breaks the contract in one way."""

    name = "sinner"

    def __init__(self, sin: str) -> None:
        self.sin = sin

    def apply(self, model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, generator: object) -> object:
        from contextlib import contextmanager

        from holdfast.core.protocols import Stressed

        @contextmanager
        def run() -> object:
            layer = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
            stressed = x
            if self.sin == "weight":
                layer.weight.data[0, 0, 0, 0] += 1
            elif self.sin == "hook":
                layer.register_forward_hook(lambda *_: None)
            elif self.sin == "input":
                x[0] += 1
            elif self.sin == "training":
                model.train()
            elif self.sin == "gradient":
                layer.weight.grad = torch.ones_like(layer.weight)
            elif self.sin == "global random state":
                torch.rand(1)
            elif self.sin == "unseeded":
                stressed = x + torch.rand(1, generator=UNSEEDED)
            try:
                yield Stressed(model, stressed, y)
            except Exception:
                if self.sin != "swallow":
                    raise

        return run()


UNSEEDED = torch.Generator().manual_seed(0)

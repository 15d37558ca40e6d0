from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional

import holdfast
from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.models.calibrated import Calibrated
from holdfast.models.ensemble import HOWS, Ensemble

SHAPE = {"in_channels": 2, "classes": 3, "size": 8}
X = torch.rand(5, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def members() -> list[torch.nn.Module]:
    torch.manual_seed(1)
    plain = models.create("cnn", **SHAPE, width=0.25, mean=(0.1, 0.2), std=(1, 2), input_norm=False)
    return [plain.eval(), models.create("vit", **SHAPE, patch=4, dim=8, heads=2, depth=1, mlp=8).eval()]


def answers(n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, 3 members, 3 classes) of which the first are good, the second weak, the third noise."""
    rng = torch.Generator().manual_seed(2)
    y = torch.randint(3, (n,), generator=rng)
    noise = torch.randn(n, 3, 3, generator=rng)
    return noise + functional.one_hot(y, 3)[:, None] * torch.tensor([2.0, 0.7, 0.0])[:, None], y


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits.double(), -1)


@torch.no_grad()
def test_unfitted_ensembles_are_the_means_they_say() -> None:
    some = members()
    p = torch.stack([probabilities(member(X)) for member in some])
    arithmetic, geometric = p.mean(0), p.log().mean(0).softmax(1)
    for how, expected in (("mean", arithmetic), ("weighted", arithmetic), ("stacked", geometric)):
        found = probabilities(Ensemble.of(some, how).eval()(X))
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("how", HOWS)
@torch.no_grad()
def test_an_ensemble_is_a_model_file_and_can_be_protected(how: str, tmp_path) -> None:
    joined = Ensemble.of(members(), how).eval()
    logits, y = answers()
    joined.fit(logits[:, :2], y)
    models.save(joined, tmp_path / "m.safetensors", {"name": "both"})
    again = models.load(tmp_path / "m.safetensors")
    assert torch.equal(again(X), joined(X))
    assert not again.training
    guarded = holdfast.protect(again, plan=None)
    torch.testing.assert_close(guarded(X), joined(X), atol=1e-5, rtol=1e-5)


def test_weights_minimise_the_loss() -> None:
    logits, y = answers()
    torch.manual_seed(0)
    joined = models.create("ensemble", **SHAPE, members=["cnn", "cnn", "cnn"], how="weighted")
    loss = joined.fit(logits, y)
    own = probabilities(logits)[torch.arange(len(y)), :, y].numpy()
    oracle = minimize(
        lambda w: -np.log(own @ w).mean(),
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        tol=1e-12,
    )
    assert loss == pytest.approx(oracle.fun, abs=1e-6)
    np.testing.assert_allclose(joined.weights.detach().numpy(), oracle.x, atol=5e-3)
    assert loss <= -np.log(own).mean(0).min()


@torch.no_grad()
def test_a_stack_is_no_worse_than_what_it_starts_from() -> None:
    logits, y = answers()
    losses = {}
    for how in HOWS:
        joined = models.create("ensemble", **SHAPE, members=["cnn", "cnn", "cnn"], how=how)
        before = float(functional.cross_entropy(joined.combine(logits), y))
        losses[how] = joined.fit(logits, y)
        after = float(functional.cross_entropy(joined.combine(logits), y))
        assert losses[how] == pytest.approx(after, abs=1e-5)
        assert after <= before + 1e-6
    assert losses["stacked"] < losses["mean"]


@torch.no_grad()
def test_a_calibrated_model_is_the_model_with_softer_answers(tmp_path) -> None:
    plain, other = members()
    soft = Calibrated.of(plain, 2.5).eval()
    torch.testing.assert_close(soft(X), plain(X) / 2.5)
    models.save(soft, tmp_path / "m.safetensors")
    assert torch.equal(models.load(tmp_path / "m.safetensors")(X), soft(X))
    twice = Calibrated.of(Ensemble.of([soft, other]), 0.5).eval()
    models.save(twice, tmp_path / "n.safetensors")
    assert torch.equal(models.load(tmp_path / "n.safetensors")(X), twice(X))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Ensemble.of([]), "models made by"),
        (lambda: Ensemble.of([torch.nn.Linear(2, 2)]), "Linear"),
        (lambda: Ensemble.of([*members(), models.create("cnn", **{**SHAPE, "size": 16})]), "one shape"),
        (lambda: Ensemble.of(members()[:1] * 2), "shared"),
        (lambda: Ensemble.of(members(), "vote"), "vote"),
        (lambda: models.create("ensemble", **SHAPE, members="cnn"), "at least one"),
        (lambda: models.create("ensemble", **SHAPE, norm="none"), "no choice"),
        (lambda: Ensemble.of(members()).fit(torch.zeros(4, 3, 3), torch.zeros(4).long()), "classes"),
        (
            lambda: Ensemble.of(members()).fit(torch.full((4, 2, 3), torch.nan), torch.zeros(4).long()),
            "finite",
        ),
        (lambda: Calibrated.of(members()[0], 0.0), "> 0"),
        (lambda: Calibrated.of(torch.nn.Linear(2, 2), 1.0), "Linear"),
    ],
)
def test_bad_input(call, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call()

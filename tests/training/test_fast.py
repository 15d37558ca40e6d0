"""One perturbation an image: carried through crops, kept, reset, resumed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from holdfast.core.errors import UsageError
from holdfast.training import augment, fit, objectives
from holdfast.training.augment import CropFlip
from holdfast.training.fast import Fast
from holdfast.training.moment import Moment

EPS = 0.1


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """The gradient of its loss has the same sign for an image at every place of the ball."""

    def __init__(self, seed=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 64, generator=gen(seed)))

    def forward(self, x):
        return functional.linear(x.flatten(1), self.weight)


def batch(n=6):
    return 0.3 + 0.4 * torch.rand(n, 1, 8, 8, generator=gen(1)), torch.arange(n) % 2


def fast(**options):
    objective = objectives.create("fast", eps=EPS, **options)
    assert isinstance(objective, Fast)
    objective.begin(10)
    return objective


def stored(objective, index):
    values, _ = objective.memory.read(index, batch()[0])
    return EPS * values / 127


def test_each_step_goes_on_from_the_last_perturbation():
    objective, (x, y), model = fast(noise=0.0), batch(), Linear()
    index = torch.tensor([3, 1, 9, 0, 4, 7])
    first = objective.attack(model, x, y, gen(), Moment(0, 5, index))
    assert torch.allclose((first - x).abs(), torch.full_like(x, EPS / 2), atol=1e-6)
    back = torch.tensor([5, 3, 1, 0, 2, 4])  # the same images in another order
    second = objective.attack(model, x[back], y[back], gen(), Moment(5, 5, index[back]))
    assert torch.allclose((second - x[back]).abs(), torch.full_like(x, EPS), atol=1e-3)
    assert torch.allclose(second - x[back], stored(objective, index[back]), atol=EPS / 127)
    assert stored(objective, torch.tensor([2, 5, 6, 8])).abs().max() == 0


def test_perturbations_follow_crops_and_mirror_images():
    """What a view does not see is kept; the rest lies where the view saw it."""
    objective, (x, y), model = fast(noise=0.0), batch(), Linear()
    index = torch.arange(6)
    objective.attack(model, x, y, gen(), Moment(0, 5, index))
    before = stored(objective, index)
    view = CropFlip(3).draw(6, gen(2))
    seen = view(x)
    hostile = objective.attack(model, seen, y, gen(), Moment(5, 5, index, view=view))
    start = torch.clamp(seen + view(before), 0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(model(start), y), start)
    low, high = (seen - EPS).clamp(min=0), seen + EPS
    expected = torch.clamp(start.detach() + EPS / 2 * gradient.sign(), low, high)
    assert torch.allclose(hostile, expected, atol=1e-6)
    visible = view.back(torch.ones_like(x)).bool()
    kept = torch.where(visible, view.back(expected - seen), before)
    assert not visible.all()
    assert torch.allclose(stored(objective, index), kept, atol=EPS / 127)


def test_rounds_begin_anew():
    objective, (x, y), model = fast(noise=0.0, reset_epochs=2), batch(), Linear()
    sizes = []
    for epoch in range(5):
        hostile = objective.attack(model, x, y, gen(), Moment(5 * epoch, 5, torch.arange(6)))
        sizes.append(round(float((hostile - x).abs().max() / EPS), 2))
    assert sizes == [0.5, 1.0, 0.5, 1.0, 0.5]


def test_first_visits_start_at_random_from_the_generator():
    (x, y), model = batch(), Linear()
    moment = Moment(0, 5, torch.arange(6))
    one, same, other = (fast().attack(model, x, y, gen(s), moment) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one, fast().attack(model, x, y, gen(0)))
    assert (one - x).abs().max() <= EPS + 1e-6


@pytest.mark.parametrize("name", ["pgd", "fgsm_rs", "n_fgsm", "trades", "fast"])
def test_the_radius_rises(name):
    objective = objectives.create(name, eps=EPS, radius_epochs=2)
    (x, y), seen = batch(), []

    class Seeing(Linear):
        def forward(self, x):
            seen.append(x.detach()[-6:])
            return super().forward(x)

    for step, share in ((0, 0.1), (4, 0.5), (9, 1.0), (30, 1.0)):
        seen.clear()
        if name == "fast":
            objective.begin(6)
        objective.at(Moment(step, 5, torch.arange(6)))(Seeing(), x, y, gen())
        reach = 3 if name == "n_fgsm" else 1
        far = float((seen[-1] - x).abs().max()) / EPS
        assert far <= reach * share + 1e-5
        assert far > 0.6 * share


def test_energies_are_attacked_in_gev_and_times_are_not():
    class Info:
        unit_gev = (50.0, None)
        value_range = None

    class Two(Linear):
        def forward(self, x):
            return super().forward(x[:, 0]) + super().forward(x[:, 1])

    x, y = torch.rand(6, 2, 8, 8, generator=gen()), batch()[1]
    objective = objectives.create("fast", info=Info(), eps_gev=0.5)
    objective.begin(6)
    for epoch in range(3):
        hostile = objective.attack(Two(), x, y, gen(), Moment(epoch, 1, torch.arange(6)))
        assert 0 < (hostile - x)[:, 0].abs().max() <= 0.01 + 1e-6
        assert torch.equal(hostile[:, 1], x[:, 1])
    assert objective.memory.values.shape == (6, 2, 8, 8)
    assert objective.memory.values.element_size() == 1
    assert objective.memory.values[:, 1].abs().max() == 0


def test_wrong_values_are_named():
    for options in ({"smoothing": 1.0}, {"reset_epochs": 0}, {"radius_epochs": -1}):
        with pytest.raises(UsageError, match=next(iter(options)).replace("smoothing", "label smoothing")):
            objectives.create("fast", eps=EPS, **options)


class Interrupted(augment.CropFlip):
    """Interrupts the training at one step."""

    def __init__(self, after=-1):
        super().__init__(pad=1)
        object.__setattr__(self, "left", after)

    def draw(self, images, generator):
        object.__setattr__(self, "left", self.left - 1)
        if self.left == -1:
            raise KeyboardInterrupt
        return super().draw(images, generator)


def test_killed_and_resumed_it_ends_with_the_same_bytes(streams, make_model, tmp_path):
    options = {"epochs": 3, "batch_size": 64, "checkpoint_steps": 3}
    objective = objectives.create("fast", eps=EPS, reset_epochs=2)
    whole = fit(
        make_model(), *streams, objective=objective, augment=Interrupted(), out=tmp_path / "whole", **options
    )
    values = objective.memory.values.clone()
    for after in (2, 5):
        again = objectives.create("fast", eps=EPS, reset_epochs=2)
        with pytest.raises(KeyboardInterrupt):
            fit(
                make_model(),
                *streams,
                objective=again,
                augment=Interrupted(after),
                out=tmp_path / "cut",
                **options,
            )
    resumed = fit(
        make_model(), *streams, objective=objective, augment=Interrupted(), out=tmp_path / "cut", **options
    )
    assert resumed.best.read_bytes() == whole.best.read_bytes()
    assert torch.equal(objective.memory.values, values)
    assert values.abs().max() > 0
    content = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)
    assert torch.equal(content["memory"]["values"], values)


def test_an_objective_that_was_used_before_has_forgotten_it(streams, make_model, tmp_path):
    objective = objectives.create("fast", eps=EPS)
    options = {"epochs": 1, "batch_size": 64, "objective": objective}
    one, two = (fit(make_model(), *streams, **options, out=tmp_path / name) for name in ("a", "b"))
    assert one.best.read_bytes() == two.best.read_bytes()

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.stress import AutoAttack
from holdfast.stress.unit_box import UnitBox


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(st.one_of(st.none(), st.floats(0.1, 100)), min_size=1, max_size=4).filter(any),
    st.floats(0.01, 5),
    st.integers(0, 2**31),
)
def test_every_image_comes_back_whatever_an_attack_makes_of_the_box(
    n: int, units: list[float | None], eps_gev: float, seed: int
) -> None:
    """All of any images, in any order, moved by up to the radius: no other channel, none of another image."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, len(units), 2, 3, generator=generator) * 100
    attack = AutoAttack(eps_gev=eps_gev, unit_gev=units)
    radius, low, high = attack.ball(x)
    box = UnitBox.of(x, radius, attack.value_range, attack.unit_gev)
    assert box.start.min() >= 0
    assert box.start[:, : len([unit for unit in units if unit])].max() <= 1 - box.eps
    torch.testing.assert_close(box.decode(box.start), x, rtol=1e-5, atol=1e-4)
    order = torch.randperm(n, generator=generator)[: max(1, n // 2)]
    z = box.start[order]
    direction = 2 * torch.rand(z.shape, generator=generator).round() - 1
    moved = box.decode(torch.clamp(z + box.eps * direction, 0, 1))
    assert (moved >= low[order] - 1e-4 * radius.max() - 1e-4).all()
    assert (moved <= high[order] + 1e-4 * radius.max() + 1e-4).all()
    spared = [index for index, unit in enumerate(units) if unit is None]
    assert torch.equal(moved[:, spared], x[order][:, spared])
    reached = (moved - x[order]).abs().amax((0, 2, 3))
    expected = radius.expand(1, len(units), 1, 1).flatten()
    torch.testing.assert_close(reached, expected, rtol=1e-3, atol=1e-3)


def test_a_closed_range_is_the_box() -> None:
    x = torch.rand(5, 2, 3, 3) * 4 - 2
    attack = AutoAttack(eps=0.5, value_range=(-2, 2))
    box = UnitBox.of(x, attack.ball(x)[0], attack.value_range, attack.unit_gev)
    assert box.eps == 0.125
    torch.testing.assert_close(box.start, (x + 2) / 4)

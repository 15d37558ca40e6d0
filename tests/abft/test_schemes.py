"""The schemes as pure functions: patterns, ambiguities, damaged checksums."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from holdfast.abft import schemes
from holdfast.abft.checksum import Sums, block_sums
from holdfast.abft.schemes import CLEAN, DAMAGED, ILLEGAL, LOCATED, Finding
from holdfast.abft.threshold import Thresholds

N, M, V = 4, 5, 3
TAU = 0.01


def tau_of(n: int, m: int, size: float = TAU) -> Thresholds:
    """Thresholds that grow with what is summed, as the analytic ones do."""
    row, column = torch.full((m, 1), size * n), torch.full((n, 1), size * m)
    return Thresholds(row, column, row * n, column * m, size * n * m, size * n * m * m, size * n * n * m)


def clean(n: int = N, m: int = M, v: int = V, seed: int = 0) -> tuple[Tensor, Sums]:
    """Blocks and their right checksums."""
    made = torch.randn(n, m, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made, block_sums(made)


def judge(name: str, damaged: Tensor, co: Sums, tau: Thresholds | None = None) -> Finding:
    """What one scheme says of ``damaged`` blocks."""
    tau = tau or tau_of(*damaged.shape[:2])
    if name == "CoC-D":
        return schemes.coc_d(damaged, co.s5, tau)
    if name == "CoC":
        return schemes.coc(damaged, co.s5, co.s6, co.s7, tau)
    if name == "RC":
        return schemes.row(damaged, co.s1, co.s3, tau)
    if name == "ClC":
        return schemes.column(damaged, co.s2, co.s4, tau)
    return schemes.full(damaged, co.s1, co.s2, co.s5, co.s6, co.s7, tau)


def states(found: Finding) -> list[int]:
    """The verdicts."""
    return found.state.tolist()


NAMES = ("CoC-D", "CoC", "RC", "ClC", "FC")
STRANGE = (7.0, -7.0, 1e38, -1e38, 1e300, math.inf, -math.inf, math.nan)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_clean_is_clean(name: str) -> None:
    blocks, co = clean()
    found = judge(name, blocks, co)
    assert states(found) == [CLEAN] * V
    assert torch.equal(found.blocks, blocks)
    assert not found.changed.any()


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("value", STRANGE)
def test_every_block_by_itself(name: str, value: float) -> None:
    """Every one of N·M·V places once, (0, j) and (i, 0) included: n and m count from 1."""
    blocks, co = clean()
    for n in range(N):
        for m in range(M):
            damaged = blocks.clone()
            damaged[n, m, 1] += value
            found = judge(name, damaged, co)
            assert states(found) == [CLEAN, LOCATED, CLEAN]
            torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)
            assert found.changed.nonzero().tolist() == [[n, m, 1]]


@pytest.mark.parametrize("value", STRANGE)
def test_positions_of_one_block_are_judged_each_on_its_own(value: float) -> None:
    blocks, co = clean()
    damaged = blocks.clone()
    damaged[2, 3, 0], damaged[0, 0, 1], damaged[3, 4, 2] = value, value, value
    found = judge("CoC", damaged, co)
    assert states(found) == [LOCATED] * 3
    torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)


SOLVES = {"row": ("RC", "FC"), "column": ("ClC", "FC")}


@pytest.mark.parametrize("pattern", SOLVES)
@pytest.mark.parametrize("name", NAMES)
def test_who_corrects_rows_and_columns(pattern: str, name: str) -> None:
    blocks, co = clean(seed=3)
    damaged = blocks.clone()
    made = torch.tensor([3.0, 5.0, -1.5, 40.0, 2.5])
    if pattern == "row":
        damaged[2] += made[:, None]
    else:
        damaged[:, 2] += made[:N, None]
    found = judge(name, damaged, co)
    if name in SOLVES[pattern]:
        assert states(found) == [LOCATED] * V
        torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)
    else:
        assert set(states(found)) <= {ILLEGAL}
        assert not found.changed.any()


@pytest.mark.parametrize("name", NAMES)
def test_errors_across_rows_and_columns_are_left_to_the_last_rung(name: str) -> None:
    blocks, co = clean()
    damaged = blocks.clone()
    damaged[0, 1] += 90.0
    damaged[2, 3] -= 53.0
    assert set(states(judge(name, damaged, co))) == {ILLEGAL}


@pytest.mark.parametrize("name", ["RC", "ClC", "FC"])
@pytest.mark.parametrize(
    "values", [(math.nan, 1e38), (1e38, 2.0), (math.inf, -math.inf, 3.0), (1e38, -1e38, 9.0)]
)
def test_rows_and_columns_of_mixed_errors(name: str, values: tuple[float, ...]) -> None:
    blocks, co = clean()
    damaged = blocks.clone()
    for at, value in enumerate(values):
        where = (at + 1, 3) if name == "ClC" else (3, at + 1)
        damaged[where] += value
    found = judge(name, damaged, co)
    assert states(found) == [LOCATED] * V
    torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)


# ---- damaged checksums -------------------------------------------------------------------------------------

# What each damaged input checksum or output checksum spoils, as changes of (s1, s2, s3, s4, s5, s6, s7).
SPOILS = {
    "Cd1": ("s1", "s5", "s6"),
    "Cd2": ("s3", "s7"),
    "Cw1": ("s2", "s5", "s7"),
    "Cw2": ("s4", "s6"),
    **{f"Co{i}": (f"s{i}",) for i in range(1, 8)},
}


def spoiled(co: Sums, what: str, size: float) -> Sums:
    """``co`` with everything off that the damaged checksum ``what`` enters; of Co1 to Co4 one entry."""
    changed = {}
    for name in SPOILS[what]:
        values = getattr(co, name).clone()
        if values.dim() == 1:
            values += size * 1.7
        elif what.startswith("Co"):
            values[1] += size
        else:
            values += size * torch.linspace(0.3, 1.0, len(values), dtype=torch.float64)[:, None]
        changed[name] = values
    return co._replace(**changed)


@pytest.mark.parametrize("size", [50.0, -1e38, math.inf, math.nan], ids=str)
@pytest.mark.parametrize("what", SPOILS)
def test_a_damaged_checksum_never_spoils_clean_data(what: str, size: float) -> None:
    """FC tells by the other sums that the data are clean; no scheme corrects them into something else."""
    blocks, co = clean()
    damaged = spoiled(co, what, size)
    found = judge("FC", blocks, damaged)
    wanted = {"Co6": CLEAN, "Co7": CLEAN, "Cd2": CLEAN, "Cw2": CLEAN, "Co3": CLEAN, "Co4": CLEAN}
    assert states(found) == [wanted.get(what, DAMAGED)] * V
    assert torch.equal(found.blocks, blocks)
    for name in NAMES:
        found = judge(name, blocks, damaged)
        assert LOCATED not in states(found), name
        assert torch.equal(found.blocks, blocks)


@pytest.mark.parametrize(("what", "n", "m"), [("Cd1", 1, 1), ("Cw1", 1, 1), ("Cd1", 1, 4), ("Cw1", 3, 1)])
def test_damaged_checksums_of_one_image_or_one_kernel(what: str, n: int, m: int) -> None:
    """Counted from 0, an error in the first row would leave Co7 clean and look like a damaged Cd1."""
    blocks, co = clean(n, m)
    found = judge("FC", blocks, spoiled(co, what, 50.0))
    assert states(found) == [DAMAGED] * V
    damaged = blocks.clone()
    damaged[0, 0] += 50.0
    for name in NAMES[1:]:
        found = judge(name, damaged, co)
        assert states(found) == [LOCATED] * V, name
        torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)


def test_discard_needs_a_pattern_that_no_error_of_the_output_makes() -> None:
    """Two errors of a row that cancel leave Co2, Co5 and Co7 clean, like a damaged Co1; Co6 betrays them."""
    blocks, co = clean()
    damaged = blocks.clone()
    damaged[1, 0] += 8.0
    damaged[1, 3] -= 8.0
    assert states(judge("FC", damaged, co)) == [ILLEGAL] * V
    assert DAMAGED not in states(judge("RC", damaged, co))
    # CoC sees Co5 and Co7 clean, as if Cw2 were hit: a suspicion, which FC does not share.
    assert states(judge("CoC", damaged, co)) == [DAMAGED] * V


@pytest.mark.parametrize("made", [(8.0, -16.0, 8.0), (5.0, -5.0, -5.0, 5.0)], ids=str)
@pytest.mark.parametrize("pattern", ["row", "column"])
def test_errors_that_cancel_in_every_plain_and_weighted_sum_are_no_damaged_checksum(
    pattern: str, made: tuple[float, ...]
) -> None:
    """Then only Co1 (of a row) is off, but in several channels: one damaged sum it is not."""
    blocks, co = clean()
    damaged = blocks.clone()
    for at, error in enumerate(made):
        damaged[(1, at) if pattern == "row" else (at, 1)] += error
    assert states(judge("FC", damaged, co)) == [ILLEGAL] * V


def test_two_damaged_checksums_are_left_to_the_last_rung() -> None:
    blocks, co = clean()
    for weighted in ("s6", "s7"):
        for plain in ("s1", "s2"):
            both = spoiled(co, f"Co{plain[1]}", 50.0)._replace(**{weighted: getattr(co, weighted) + 50.0})
            assert states(judge("FC", blocks, both)) == [ILLEGAL] * V


@pytest.mark.parametrize("tainted", ["Co1", "Co2"])
@pytest.mark.parametrize("value", [3.0, 1e38])
def test_full_corrects_with_one_of_its_checksums_tainted(tainted: str, value: float) -> None:
    """The slides' cases. Damaged Co2: Co5 and Co7 locate row 2, Co1 corrects it. Damaged Co1: the mirror."""
    blocks, co = clean()
    damaged = blocks.clone()
    made = value * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)[:, None]
    if tainted == "Co2":
        damaged[2] += made
        co = co._replace(s2=damaged.sum(1))  # computed from the same damaged D
    else:
        damaged[:, 3] += made[:N]
        co = co._replace(s1=damaged.sum(0))  # computed from the same damaged W
    found = judge("FC", damaged, co)
    assert states(found) == [LOCATED] * V
    torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)


def test_two_equal_errors_of_a_row_imitate_one_between_them() -> None:
    """CoC alone is deceived; RC and FC are not. The ladder confirms CoC by Co1 and Co2 (test_layers)."""
    blocks, co = clean()
    damaged = blocks.clone()
    damaged[1, 0] += 4.0
    damaged[1, 4] += 4.0
    assert states(judge("CoC", damaged, co)) == [LOCATED] * V
    for name in ("RC", "FC"):
        found = judge(name, damaged, co)
        assert states(found) == [LOCATED] * V
        torch.testing.assert_close(found.blocks, blocks, rtol=0, atol=1e-12)


# ---- the quotient ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=400)
@given(
    k=st.integers(1, 60),
    count=st.integers(1, 60),
    size=st.floats(-1e3, 1e3),
    above=st.floats(-1, 1),
    below=st.floats(-1, 1),
    taus=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)),
)
def test_a_legal_quotient_is_the_right_one(
    k: int, count: int, size: float, above: float, below: float, taus: tuple[float, float]
) -> None:
    """Whatever rounding within the thresholds does to the deviations: right, or illegal."""
    assume(k <= count)
    index, legal = schemes.ratio(
        torch.tensor([k * size + above * taus[0]], dtype=torch.float64),
        torch.tensor([size + below * taus[1]], dtype=torch.float64),
        *taus,
        count,
    )
    assert not legal or int(index) == k - 1
    if abs(size) > 2 * (taus[0] + (k + 2) * taus[1]) + 2 * taus[1]:
        assert legal


def test_a_quotient_between_two_indices_is_illegal() -> None:
    """Deviations that fit both 1 and 2 within their thresholds."""
    t6 = t5 = 1.0
    below = 2 * t6 + 2.9 * t5
    above = 2 * below - (t6 + 2 * t5)
    assert abs(above - below) <= t6 + t5
    _, legal = schemes.ratio(torch.tensor([above]), torch.tensor([below]), t6, t5, 5)
    assert not legal

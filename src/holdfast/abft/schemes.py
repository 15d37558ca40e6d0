"""The schemes of FT-CNN as pure functions: checksums and output blocks in, a verdict on each position out.

All take ``blocks`` (N, M, V) float64, free of bias: the output at V positions, each of which is judged on its
own; checksums as in ``checksum`` (n and m count from 1): co1, co3 (M, V), co2, co4 (N, V), co5, co6, co7
(V,); and the thresholds of ``threshold``. All return a Finding. Where n or m comes out as a quotient of
deviations, it counts only if rounding cannot have moved it to another whole number: an error too small for
that is ILLEGAL here and left to the next scheme.

Corrections sum anew: new value = checksum − Σ of the other blocks. The spoiled value never enters, so 1e38,
Inf and NaN are repaired like any other. A corrected value is off by at most the threshold of the checksum it
came from. Blocks that are not finite locate themselves.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from holdfast.abft.checksum import counted
from holdfast.abft.threshold import Thresholds

CLEAN: Final = 0
LOCATED: Final = 1
ILLEGAL: Final = 2
DAMAGED: Final = 3
_ROUNDING: Final = 1e-12  # relative, of sums in float64 that a huge value has entered


class Finding(NamedTuple):
    """What a scheme says of V positions.

    ``state`` (V,): CLEAN; LOCATED, and corrected in ``blocks`` (N, M, V), where ``changed`` (N, M, V) says
    which; ILLEGAL, for the next scheme; DAMAGED: the output is right, a checksum is not.
    """

    state: Tensor
    blocks: Tensor
    changed: Tensor


def coc_d(blocks: Tensor, co5: Tensor, tau: Thresholds) -> Finding:
    """CoC-D: Co5 against S5. Detects only: a position that is off is ILLEGAL."""
    clean = ~off(co5 - blocks.sum((0, 1)), tau.t5)
    return Finding(_states(clean), blocks, torch.zeros_like(blocks, dtype=torch.bool))


def coc(blocks: Tensor, co5: Tensor, co6: Tensor, co7: Tensor, tau: Thresholds) -> Finding:
    """CoC: Co5, Co6 and Co7 correct one block, at n = δ7/δ5 and m = δ6/δ5.

    DAMAGED: Co6 or Co7 is as it should be although Co5 is off by more than an error of the output could hide
    there: Cd1 (Co5 and Co6 off), Cw1 (Co5 and Co7) or Co5 alone was hit; or Co5 is right and the others are
    not. Errors in several blocks that cancel can imitate this: confirm it with sums that do not use the
    suspect, as ``full`` does, before the checksums are discarded.
    """
    n, m, _ = blocks.shape
    spoiled = (~blocks.isfinite()).flatten(0, 1)
    lost = spoiled.sum(0)
    known = blocks.nan_to_num(0.0, 0.0, 0.0)
    delta5, delta6, delta7 = _deltas(known, co5, co6, co7)
    column, legal_column = ratio(delta6, delta5, tau.t6, tau.t5, m)
    row, legal_row = ratio(delta7, delta5, tau.t7, tau.t5, n)
    wrong5, wrong6, wrong7 = off(delta5, tau.t5), off(delta6, tau.t6), off(delta7, tau.t7)

    index = torch.where(lost == 1, spoiled.int().argmax(0), row * m + column)
    located = (lost == 1) | ((lost == 0) & wrong5 & legal_column & legal_row)
    clean = (lost == 0) & ~wrong5 & ~wrong6 & ~wrong7
    silent = _silent(delta6, delta5, tau.t6, tau.t5) | _silent(delta7, delta5, tau.t7, tau.t5)
    damaged = (lost == 0) & (~wrong5 | silent)
    changed = torch.zeros_like(spoiled)
    changed[index, torch.arange(len(index))] = located
    changed = changed.reshape(blocks.shape)
    fixed = torch.where(changed, co5 - _others(blocks, changed, (0, 1)), blocks)
    return Finding(_states(clean, located, damaged), fixed, changed)


def row(blocks: Tensor, co1: Tensor, co3: Tensor, tau: Thresholds) -> Finding:
    """RC: Co1 and Co3 correct one row, at n = δ3/δ1 of the channel with the clearest error.

    Every other channel that is off must agree with that row. Blind where Co1 itself is damaged.
    """
    return _one_row(blocks, co1, co3, tau.t1, tau.t3)


def column(blocks: Tensor, co2: Tensor, co4: Tensor, tau: Thresholds) -> Finding:
    """ClC: Co2 and Co4 correct one column, at m = δ4/δ2 of the image with the clearest error."""
    found = _one_row(blocks.transpose(0, 1), co2, co4, tau.t2, tau.t4)
    return Finding(found.state, found.blocks.transpose(0, 1), found.changed.transpose(0, 1))


def full(
    blocks: Tensor, co1: Tensor, co2: Tensor, co5: Tensor, co6: Tensor, co7: Tensor, tau: Thresholds
) -> Finding:
    """FC: Co1 and Co2 correct a row or a column, with Co5, Co6 and Co7 even where one of them is damaged.

    Both off: where one row meets all errors, Co1 corrects it, if Co2 agrees with the result, or Co5 where
    several columns are off (Co2 comes from the same damaged D); else, where one column does, Co2 corrects
    it, if Co5 agrees, and Co1 where only one row is off. Co1 alone is off (Co2 is damaged, or comes from the
    same damaged D): Co5 and Co7 locate the row, Co1 corrects it. Co2 alone is off (Co1 is damaged, or comes
    from the same damaged W): Co5 and Co6 locate the column, Co2 corrects it.

    DAMAGED is what no error of the output can make: Co1 and Co2 are right, Co5 is not (Co5 hit); a single one
    of Co1 or of Co2 is off and nothing else (that one hit); Co1 alone and Co5 are off, Co7 is not (Cd1 hit);
    Co2 alone and Co5 are off, Co6 is not (Cw1 hit). Everything else is left to the next rung.
    """
    n, m, _ = blocks.shape
    spoiled = ~blocks.isfinite()
    known = blocks.nan_to_num(0.0, 0.0, 0.0)
    wrong1 = off(co1 - known.sum(0), tau.t1) | spoiled.any(0)
    wrong2 = off(co2 - known.sum(1), tau.t2) | spoiled.any(1)
    lost = spoiled.any(0).any(0)
    delta5, delta6, delta7 = _deltas(known, co5, co6, co7)
    wrong5, wrong6, wrong7 = off(delta5, tau.t5) | lost, off(delta6, tau.t6), off(delta7, tau.t7)
    rows, columns = wrong2.sum(0), wrong1.sum(0)
    both = (rows > 0) & (columns > 0)

    row, legal_row = ratio(delta7, delta5, tau.t7, tau.t5, n)
    column, legal_column = ratio(delta6, delta5, tau.t6, tau.t5, m)
    row_by_coc = (rows == 0) & (columns > 0) & wrong5 & legal_row
    column_by_coc = (columns == 0) & (rows > 0) & wrong5 & legal_column
    one_row, one_column = both & (rows == 1), both & (columns == 1)

    in_row = _at_row(row.where(~one_row, wrong2.int().argmax(0)), n)[:, None] & wrong1[None]
    by_row = torch.where(in_row, co1 - _others(blocks, in_row, (0,)), blocks)
    fits = ~off(co5 - by_row.sum((0, 1)), 2 * tau.t5)
    # A single block may be the one error that shows of a whole line, the others too small for their checksum:
    # it is the sum of that line if it is corrected by the other. So the checksums of its line have to agree.
    one_row &= (fits & (columns > 1)) | ~off(co2 - by_row.sum(1), tau.t2 + tau.t5).any(0)
    row_by_coc &= fits
    in_column = _at_row(column.where(~one_column, wrong1.int().argmax(0)), m)[None] & wrong2[:, None]
    by_column = torch.where(in_column, (co2 - _others(blocks, in_column, (1,)))[:, None], blocks)
    fits = ~off(co5 - by_column.sum((0, 1)), 2 * tau.t5)
    one_column, column_by_coc = one_column & ~one_row & fits, column_by_coc & fits
    one_column &= (rows > 1) | ~off(co1 - by_column.sum(0), tau.t1 + tau.t5).any(0)

    in_row &= one_row | row_by_coc
    in_column &= one_column | column_by_coc
    fixed = torch.where(in_row, by_row, torch.where(in_column, by_column, blocks))
    hit1 = (columns == 1) & ~wrong5 & ~wrong6 & ~wrong7
    hit2 = (rows == 1) & ~wrong5 & ~wrong6 & ~wrong7
    damaged = (rows == 0) & ((columns == 0) | hit1 | _silent(delta7, delta5, tau.t7, tau.t5))
    damaged |= (columns == 0) & (hit2 | _silent(delta6, delta5, tau.t6, tau.t5))
    located = one_row | one_column | row_by_coc | column_by_coc
    clean = (rows == 0) & (columns == 0) & ~wrong5
    return Finding(_states(clean, located, damaged & ~lost), fixed, in_row | in_column)


def _one_row(blocks: Tensor, co1: Tensor, co3: Tensor, t1: Tensor, t3: Tensor) -> Finding:
    n, m, v = blocks.shape
    spoiled = ~blocks.isfinite()
    known = blocks.nan_to_num(0.0, 0.0, 0.0)
    delta1 = co1 - known.sum(0)
    delta3 = co3 - torch.einsum("n,nmv->mv", counted(n, blocks), known)
    here = spoiled.any(0)  # (M, V)
    wrong = off(delta1, t1)
    best = delta1.abs().masked_fill(here | delta1.isnan(), -1.0).argmax(0, keepdim=True)
    above, below, t_above, t_below = (
        each.expand(m, v).gather(0, best)[0] for each in (delta3, delta1, t3, t1)
    )
    index, legal = ratio(above, below, t_above, t_below, n)
    lost = spoiled.any(1)  # (N, V)
    only = lost.sum(0) == 1
    index = torch.where(only, lost.int().argmax(0), index)
    agree = (delta3 - (index + 1) * delta1).abs() <= t3 + (index + 1) * t1 + _ROUNDING * delta3.abs()
    clean = ~(wrong | here).any(0)
    consistent = (agree | ~wrong | here).all(0) & (only | (legal & ~lost.any(0)))
    changed = _at_row(index, n)[:, None] & (wrong | here)[None] & (consistent & ~clean)
    fixed = torch.where(changed, co1 - _others(blocks, changed, (0,)), blocks)
    return Finding(_states(clean, consistent), fixed, changed)


def off(delta: Tensor, threshold: Tensor | float) -> Tensor:
    """Whether a deviation counts; written so that a NaN does."""
    return ~(delta.abs() <= threshold)


def ratio(
    above: Tensor, below: Tensor, t_above: Tensor | float, t_below: Tensor | float, count: int
) -> tuple[Tensor, Tensor]:
    """The index (from 0) that the quotient of two deviations names, and whether it is beyond doubt.

    Legal: the nearest whole number k lies in 1 … ``count``, the deviations agree with it within their
    thresholds, and no other whole number does.
    """
    number = (above / below).round()
    inside = (number >= 1) & (number <= count)  # false for NaN
    number = number.where(inside, 1.0)
    slack = t_above + number * t_below + _ROUNDING * above.abs()
    agree = (above - number * below).abs() <= slack
    # For k + d the slack is d thresholds of ``below`` wider: the two exclude each other if this holds.
    return number.long() - 1, inside & agree & (2 * slack + t_below < below.abs())


def _silent(weighted: Tensor, plain: Tensor, t_weighted: Tensor | float, t_plain: Tensor | float) -> Tensor:
    """Whether a weighted sum is right although an error of the output as large as δ5 would show in it.

    An error e of one row or column is in Co5 at most |e| + τ5 and in the weighted sum at least |e| − τ.
    """
    return ~off(weighted, t_weighted) & off(plain, t_plain + 2 * t_weighted)


def _deltas(known: Tensor, co5: Tensor, co6: Tensor, co7: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, m, _ = known.shape
    s1, s2 = known.sum(0), known.sum(1)
    return co5 - s1.sum(0), co6 - counted(m, known) @ s1, co7 - counted(n, known) @ s2


def _at_row(index: Tensor, count: int) -> Tensor:
    """(count, V): whether this is row ``index[v]``."""
    return torch.arange(count, device=index.device)[:, None] == index[None]


def _others(blocks: Tensor, changed: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The sum over ``dims`` of what is not being replaced."""
    return blocks.masked_fill(changed, 0.0).sum(dims)


def _states(clean: Tensor, located: Tensor | None = None, damaged: Tensor | None = None) -> Tensor:
    state = torch.full(clean.shape, ILLEGAL, dtype=torch.int8)
    for value, where in ((DAMAGED, damaged), (LOCATED, located), (CLEAN, clean)):
        if where is not None:
            state[where] = value
    return state

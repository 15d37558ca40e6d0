"""Faults of the protection table, each at every place where it can strike: batches of trials.

Positions are judged each on its own, so that a batch of V trials is a batch of V positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from holdfast.abft.checksum import Sums
from holdfast.programs.protection_stand import Stand

Value = Literal["finite", "1e38", "Inf", "NaN"]
VALUES: tuple[Value, ...] = ("finite", "1e38", "Inf", "NaN")


@dataclass(frozen=True)
class Trials:
    """V judged positions: output ``blocks`` (N, M, V) and checksums ``co`` there, ``clean`` blocks (N, M, V).

    ``trial`` (V,): which fault a position belongs to; ``at`` (V,): the position in the layer's output.
    """

    blocks: Tensor
    co: Sums
    clean: Tensor
    trial: Tensor
    at: Tensor


def spoil(
    old: Tensor, value: Value, generator: Generator, least: float = 1.0, decades: float = 3.0
) -> Tensor:
    """Damaged values in place of ``old`` (any shape, float64), of either sign.

    Finite: off by ``least`` to 10^``decades`` times as much. 1e38: that, within a factor of 2.
    """
    sign = torch.randint(0, 2, old.shape, generator=generator).double() * 2 - 1
    drawn = torch.rand(old.shape, generator=generator, dtype=torch.float64)
    if value == "finite":
        return old + sign * least * 10 ** (decades * drawn)
    if value == "1e38":
        return sign * 1e38 * (1 + drawn)
    return sign * torch.inf if value == "Inf" else torch.full_like(old, torch.nan)


def spoil_memory(old: Tensor, value: Value, generator: Generator) -> Tensor:
    """A damaged operand: finite, off by 0.5 to 5, so that the layer's own rounding stays what it was."""
    return spoil(old, value, generator, 0.5, 1.0)


def _at(stand: Stand, p: Tensor) -> tuple[Tensor, Sums]:
    return stand.blocks[:, :, p].clone(), Sums(*(each[..., p].clone() for each in stand.co))


def _grid(*sizes: int) -> list[Tensor]:
    return [axis.flatten() for axis in torch.meshgrid(*map(torch.arange, sizes), indexing="ij")]


def nothing(stand: Stand, value: Value, generator: Generator) -> Trials:
    """No fault."""
    p = torch.arange(stand.blocks.shape[2])
    blocks, co = _at(stand, p)
    return Trials(blocks, co, blocks.clone(), p, p)


def element(stand: Stand, value: Value, generator: Generator) -> Trials:
    """One element of O."""
    n, m, p = _grid(*stand.blocks.shape)
    blocks, co = _at(stand, p)
    clean, v = blocks.clone(), torch.arange(len(p))
    blocks[n, m, v] = spoil(blocks[n, m, v], value, generator)
    return Trials(blocks, co, clean, v, p)


def block(stand: Stand, value: Value, generator: Generator) -> Trials:
    """All elements of one block of O."""
    found = element(stand, value, generator)
    return replace(found, trial=found.trial // stand.blocks.shape[2])


def row(stand: Stand, value: Value, generator: Generator) -> Trials:
    """One element of every block of a row of O: one image, all channels."""
    n, p = _grid(stand.blocks.shape[0], stand.blocks.shape[2])
    blocks, co = _at(stand, p)
    clean, v = blocks.clone(), torch.arange(len(p))
    blocks[n, :, v] = spoil(blocks[n, :, v], value, generator)
    return Trials(blocks, co, clean, v, p)


def column(stand: Stand, value: Value, generator: Generator) -> Trials:
    """One element of every block of a column of O: one channel, all images."""
    m, p = _grid(stand.blocks.shape[1], stand.blocks.shape[2])
    blocks, co = _at(stand, p)
    clean, v = blocks.clone(), torch.arange(len(p))
    blocks[:, m, v] = spoil(blocks[:, m, v], value, generator)
    return Trials(blocks, co, clean, v, p)


def across(stand: Stand, value: Value, generator: Generator) -> Trials:
    """One element of two blocks in different rows and columns."""
    found = element(stand, value, generator)
    n, m, _ = _grid(*stand.blocks.shape)
    rows, columns, _ = stand.blocks.shape
    n2 = (n + torch.randint(1, rows, n.shape, generator=generator)) % rows
    m2 = (m + torch.randint(1, columns, m.shape, generator=generator)) % columns
    found.blocks[n2, m2, found.trial] = spoil(found.blocks[n2, m2, found.trial], value, generator)
    return found


def row_and_co2(stand: Stand, value: Value, generator: Generator) -> Trials:
    """A row of O, and Co2 of one image, independently."""
    found = row(stand, value, generator)
    n = torch.randint(0, stand.blocks.shape[0], found.trial.shape, generator=generator)
    found.co.s2[n, found.trial] = spoil(found.co.s2[n, found.trial], value, generator)
    return found


def column_and_co1(stand: Stand, value: Value, generator: Generator) -> Trials:
    """A column of O, and Co1 of one channel, independently."""
    found = column(stand, value, generator)
    m = torch.randint(0, stand.blocks.shape[1], found.trial.shape, generator=generator)
    found.co.s1[m, found.trial] = spoil(found.co.s1[m, found.trial], value, generator)
    return found


def _whole(stand: Stand, runs: list[tuple[Tensor, Sums]]) -> Trials:
    """Trials that concern all positions at once: blocks (N, M, P) and checksums of each."""
    positions = stand.blocks.shape[2]
    return Trials(
        torch.cat([blocks for blocks, _ in runs], 2),
        Sums(*(torch.cat(parts, -1) for parts in zip(*(co for _, co in runs), strict=True))),
        stand.blocks.repeat(1, 1, len(runs)),
        torch.arange(len(runs)).repeat_interleave(positions),
        stand.positions.repeat(len(runs)),
    )


def memory_d(stand: Stand, value: Value, generator: Generator) -> Trials:
    """One element of D after Cd1 and Cd2: a row of O, with Co2 and Co4 from the same damaged D."""
    runs = []
    for index in range(stand.x.numel()):
        x = stand.x.clone()
        old = x.view(-1)[index].double()
        x.view(-1)[index] = spoil_memory(old, value, generator).float()
        co = stand.sums(stand.checksums, stand.wrapper.canonical(x))
        runs.append((stand.blocks_of(stand.output(x)), co))
    return _whole(stand, runs)


def memory_w(stand: Stand, value: Value, generator: Generator) -> Trials:
    """One element of W after Cw1 and Cw2: a column of O, with Co1 and Co3 from the same damaged W."""
    runs = []
    weight = stand.weight.double().flatten()
    for index, old in enumerate(weight):
        with stand.weight_changed(index, float(spoil_memory(old, value, generator))):
            co = stand.sums(stand.checksums)
            runs.append((stand.blocks_of(stand.output(stand.x)), co))
    return _whole(stand, runs)


def _input_checksum(name: str) -> Callable[[Stand, Value, Generator], Trials]:
    def fault(stand: Stand, value: Value, generator: Generator) -> Trials:
        runs = []
        sound: Tensor = getattr(stand.checksums, name)
        for index in range(sound.numel()):
            damaged = sound.clone()
            flat = damaged.view(-1)
            flat[index] = spoil(flat[index], value, generator, 100.0)
            co = stand.sums(replace(stand.checksums, **{name: damaged}))
            runs.append((stand.blocks.clone(), co))
        return _whole(stand, runs)

    fault.__doc__ = f"One element of {name.capitalize()}; the output is right."
    return fault


def _output_checksum(number: int) -> Callable[[Stand, Value, Generator], Trials]:
    def fault(stand: Stand, value: Value, generator: Generator) -> Trials:
        rows = stand.co[number - 1].shape[0] if stand.co[number - 1].dim() == 2 else 1
        k, p = _grid(rows, stand.blocks.shape[2])
        blocks, co = _at(stand, p)
        v = torch.arange(len(p))
        damaged = co[number - 1].view(rows, -1)
        damaged[k, v] = spoil(damaged[k, v], value, generator)
        return Trials(blocks, co, blocks.clone(), v, p)

    fault.__doc__ = f"One element of Co{number}; the output is right."
    return fault


Fault = Callable[[Stand, Value, Generator], Trials]
OUTPUT_FAULTS: dict[str, Fault] = {
    "element": element,
    "block": block,
    "row": row,
    "column": column,
    "across": across,
    "D": memory_d,
    "W": memory_w,
    "row, Co2": row_and_co2,
    "column, Co1": column_and_co1,
}
"""Faults that spoil the output."""
CHECKSUM_FAULTS: dict[str, Fault] = {
    **{name.capitalize(): _input_checksum(name) for name in ("cd1", "cd2", "cw1", "cw2")},
    **{f"Co{number}": _output_checksum(number) for number in range(1, 8)},
}
"""Faults that spoil a checksum and leave the output right."""
FAULTS: dict[str, Fault] = {"none": nothing, **OUTPUT_FAULTS, **CHECKSUM_FAULTS}

"""Program ``protection``: which scheme detects and corrects which fault, found by trying every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core import environment, seeding
from holdfast.core.errors import UsageError
from holdfast.core.progress import progress
from holdfast.core.result import Label, Record, write_records
from holdfast.core.stats import wilson

if TYPE_CHECKING:
    from holdfast.programs.protection_faults import Value

Key = tuple[str, str, str]
"""Scheme, fault, value."""
WORKFLOW, RECOMPUTE = "workflow", "workflow with recompute"
HARD = ("across", "D", "row, Co2", "column, Co1")
"""Faults that may need the last rung: for them the workflow runs with it, too."""
FIRED = {
    "CoC": "CoC",
    "RC": "RC",
    "ClC": "ClC",
    "FC": "FC",
    "FC, Co1 damaged": "FC with Co1 damaged: Co5 and Co6 locate the column, Co2 corrects",
    "FC, Co2 damaged": "FC with Co2 damaged: Co5 and Co7 locate the row, Co1 corrects",
}


def run(
    out: Path, *, geometries: list[str], values: list[str], seed: int, workers: int | None = None
) -> None:
    """Strike every block and position of small layers with every fault, and write ``out/records.jsonl``.

    Each scheme judges alone, and the workflow with recompute disabled. The layers are shared out among
    ``workers`` processes (None: one a core), which changes no number. Raises UsageError for an unknown
    geometry or value.
    """
    from holdfast.programs.protection_faults import VALUES
    from holdfast.programs.protection_stand import GEOMETRIES

    for name, given, known in (("geometry", geometries, [*GEOMETRIES]), ("value", values, [*VALUES])):
        if not given or set(given) - set(known):
            raise UsageError(name, expected=f"some of {', '.join(known)}", got=", ".join(given) or "none")
    chosen = [value for value in VALUES if value in given]
    tallies: dict[Key, Counter[str]] = {}
    with progress("protection", len(geometries), "layers") as advance, ExitStack() as stack:
        each: Iterator[dict[Key, Counter[str]]]
        if (count := min(len(geometries), workers or environment.cores())) > 1:
            # Forked copies of a process that uses OpenMP threads may hang.
            pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
            each = stack.enter_context(pool).map(_judged, geometries, repeat(chosen), repeat(seed))
        else:
            each = map(_judged, geometries, repeat(chosen), repeat(seed))
        for found in each:
            for key, tally in found.items():
                tallies.setdefault(key, Counter()).update(tally)
            advance()
    common: dict[str, Label] = {
        "layers": ", ".join(geometries),
        "layers_times_values": len(geometries) * len(chosen),
    }
    write_records(out / "records.jsonl", [*_rates(tallies, common, seed), *_fired(tallies, common, seed)])


def _judged(geometry: str, values: list[Value], seed: int) -> dict[Key, Counter[str]]:
    """What each scheme makes of every fault in one layer."""
    import torch

    from holdfast.programs import protection_schemes, protection_workflow
    from holdfast.programs.protection_faults import FAULTS
    from holdfast.programs.protection_stand import Stand

    generator = torch.Generator().manual_seed(seeding.derive(seed, geometry))
    tallies: dict[Key, Counter[str]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors this small more threads only wait for each other
    try:
        stand = Stand(geometry, seed)
        for fault, make in FAULTS.items():
            for value in values:
                trials = make(stand, value, generator)
                for scheme in protection_schemes.SCHEMES:
                    tallies[scheme, fault, value] = protection_schemes.judge(scheme, stand, trials)
                tallies[WORKFLOW, fault, value] = protection_workflow.judge(fault, stand, value, generator)
                if fault in HARD:
                    whole = protection_workflow.judge(fault, stand, value, generator, recompute=True)
                    tallies[RECOMPUTE, fault, value] = whole
    finally:
        torch.set_num_threads(threads)
    return tallies


def _rates(tallies: dict[Key, Counter[str]], common: dict[str, Label], seed: int) -> Iterator[Record]:
    """Rates of all values together, and of each value those that matter most."""
    from holdfast.programs.protection_faults import CHECKSUM_FAULTS, OUTPUT_FAULTS

    together: dict[Key, Counter[str]] = {}
    for (scheme, fault, value), tally in tallies.items():
        for key in ((scheme, fault, value), (scheme, fault, "any")):
            together.setdefault(key, Counter()).update(tally)
    for (scheme, fault, value), tally in together.items():
        outcomes = ["detected"]
        if fault in OUTPUT_FAULTS:
            outcomes += ["corrected"] + ["located", "misjudged"] * (value == "any")
            outcomes += ["confined"] * (scheme == "CoC-D" and fault in ("D", "W") and value == "any")
        elif fault in CHECKSUM_FAULTS:
            outcomes += ["discarded"] + ["misjudged"] * (value == "any")
        for outcome in outcomes:
            if not tally["trials"]:
                continue
            yield Record(
                metric=f"{outcome}_rate",
                value=tally[outcome] / tally["trials"],
                unit="1",
                direction="none",
                n=tally["trials"],
                interval=wilson(tally[outcome], tally["trials"]),
                seed=seed,
                labels={"scheme": scheme, "fault": fault, "value": value, **common},
            )


def _fired(tallies: dict[Key, Counter[str]], common: dict[str, Label], seed: int) -> Iterator[Record]:
    """How often each rung put the output right: alone, and in the workflow."""
    alone: Counter[str] = Counter()
    ladder: Counter[str] = Counter()
    for (scheme, _, _), tally in tallies.items():
        if scheme in FIRED:
            alone[scheme] += tally["corrected"]
        for key, count in tally.items():
            if key in FIRED:
                alone[key] += count
            if key.startswith("solved by ") and scheme == WORKFLOW:
                ladder[key.removeprefix("solved by ")] += count
    counters = [(name, "alone", alone[name]) for name in FIRED]
    counters += [(name, WORKFLOW, count) for name, count in sorted(ladder.items())]
    for name, where, count in counters:
        yield Record(
            metric="fired",
            value=count,
            unit="trials",
            direction="none",
            n=count,
            seed=seed,
            labels={"rung": name, "where": where, **common},
        )

"""Program ``stress``: the same campaign on one or several models."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core import environment
from holdfast.core.errors import UsageError
from holdfast.core.paths import write_text
from holdfast.core.result import Record, write_records
from holdfast.hub import executors
from holdfast.programs.model_files import ModelFile
from holdfast.programs.standard_stress import standard_stress

if TYPE_CHECKING:
    from holdfast.core.protocols import Stressor
    from holdfast.data.info import Split


def run(
    out: Path,
    *,
    models: list[Path],
    data: Path | str,
    stressors: list[dict[str, Any]] | None,
    trials: int,
    batch_size: int,
    split: Split,
    limit: int | None,
    workers: int | None,
    seed: int,
    faults: Path | None = None,
    limit_s: float | None = None,
    plan_trials: bool = False,
    half_width: float | None = None,
    p_max: float | None = None,
    confidence: float = 0.95,
    each_stratum: bool = False,
    executor: str = "local",
) -> None:
    """Run every stressor against every model and write ``out/records.jsonl``.

    ``stressors`` are objects ``{"name": …, option: value…, "trials": N}``, the input ``trials`` being the
    default of the last; None is the standard campaign, or the replay of the fault list ``faults``. All models
    meet the same trials: the draws depend on seed, stressor and trial alone. Finished trials are kept in
    ``out/<model>-<protection>/`` and are not repeated after a kill; the faults that struck are left in
    ``out/faults/<model>-<protection>.json``. A trial that takes longer than ``limit_s`` seconds is a hang.
    ``executor`` says where trials run (``hub.executors``), with ``workers`` processes.

    With ``plan_trials`` nothing runs: the records say how many trials each stressor needs (``plan_trials`` in
    ``stress.strata``, which ``half_width``, ``p_max``, ``confidence`` and ``each_stratum`` go to).
    """
    from holdfast import data as sets
    from holdfast import stress

    stream = sets.open(data, split=split, seed=seed, limit=limit)
    struck = out / "faults"
    struck.mkdir(exist_ok=True)
    if faults is not None:
        if stressors:
            raise UsageError("stress", expected="stressors or faults", got="both")
        replay = stress.Replay(faults)
        harm: list[Stressor] = [replay]
        counts = [len(replay.trials)]
    else:
        chosen = stressors or standard_stress(stream.info.unit_gev)
        counts = [options.get("trials", trials) for options in chosen]
        harm = [stress.create(options["name"], info=stream.info, **_options(options)) for options in chosen]
    files = [ModelFile.open(path) for path in models]
    if plan_trials:
        goal = {"half_width": half_width, "p_max": p_max, "confidence": confidence, "each": each_stratum}
        x, _ = next(iter(stream.batches(batch_size, epoch=0, shuffle=False)))
        write_records(out / "records.jsonl", [r for file in files for r in _plan(file, harm, x, goal, seed)])
        return
    records: list[Record] = []
    with ExitStack() as stack:
        pool: Executor | None = None
        if executor != "local" or (workers := workers or environment.cores()) > 1:
            pool = stack.enter_context(executors.executor(executor, workers=workers))
        for file in files:
            name = "-".join(str(part) for part in file.labels.values())
            records += stress.campaign.run(
                file,
                harm,
                stream,
                trials=counts,
                batch_size=batch_size,
                seed=seed,
                out=out / name,
                executor=pool,
                limit_s=limit_s,
                labels=file.labels,
            )
            if (found := out / name / "faults.json").exists():
                write_text(struck / f"{name}.json", found.read_text())
    write_records(out / "records.jsonl", records)


def _options(described: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in ("name", "trials")}


def _plan(
    file: ModelFile, stressors: list[Stressor], x: Any, goal: dict[str, Any], seed: int
) -> list[Record]:
    """How many trials each stressor needs on this model; one without strata counts as one stratum."""
    import torch

    from holdfast import stress

    model, x = file.load(), torch.as_tensor(x)
    told = {key: value for key, value in goal.items() if value is not None}
    found = []
    for stressor in stressors:
        strata = len(stressor.strata(model, x)) if isinstance(stressor, stress.Faults) else 1
        plan = stress.plan_trials(**goal, strata=strata)
        labels = {**getattr(stressor, "labels", {}), **file.labels, "stressor": stressor.name, **told}
        labels |= {"strata": strata, "trials_per_stratum": plan.per_stratum}
        found.append(
            Record(
                metric="planned_trials",
                value=plan.total,
                unit="trials",
                direction="none",
                labels=labels,
                seed=seed,
            )
        )
    return found

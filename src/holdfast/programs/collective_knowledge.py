"""Programs of ``paper:collective-knowledge``: detect, install, tune with its Pareto figure, benchmark."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.paths import write_json, write_text
from holdfast.core.result import Label, Record, write_records

WORKFLOW = "workflow:compiler-flags"
GOALS: dict[str, Any] = {"wall_time": "lower", "binary_size": "lower"}
FEATURES = ("instructions", "memory", "branches", "calls", "multiplications", "divisions", "floating")


def detect(out: Path, *, software: list[str]) -> None:
    """Write ``out/software.json``; record how many installations of each of ``software`` there are."""
    from holdfast.hub import detection

    found = {name: detection.detect(name) for name in software}
    listed = {
        name: [{"version": item.version, "path": str(item.path)} for item in items]
        for name, items in found.items()
    }
    write_json(out / "software.json", listed)
    records = [_count("installations", len(items), {"software": name}) for name, items in found.items()]
    records.append(_count("detected", sum(bool(items) for items in found.values()), {}))
    write_records(out / "records.jsonl", records)


def install(out: Path, *, package: str) -> None:
    """Install ``package`` without the network, from files below HOLDFAST_DATA; record how many bytes it has.

    What cannot be had is said in the record, which then has no value.
    """
    from holdfast.hub.packages import install as install_package

    labels: dict[str, Label] = {"package": package}
    common: dict[str, Any] = {"unit": "B", "direction": "none", "labels": labels}
    try:
        made = install_package(package, offline=True)
    except HoldfastError as error:
        record = Record(metric="package_bytes", value=None, status="failed", message=str(error), **common)
    else:
        size = sum(path.stat().st_size for path in Path(made.folder).rglob("*") if path.is_file())
        record = Record(metric="package_bytes", value=size, **common)
    write_records(out / "records.jsonl", [record])


def tune(out: Path, *, kernels: list[str], trials: int, repeats: int, tolerance: float, seed: int) -> None:
    """Search the flags of every kernel at the same random points; leave a figure and the fastest binary.

    The figure shows the first kernel. Records: every trial, the size of each front, the regret of each way
    to choose flags for a kernel that was left out.
    """
    from holdfast import hub
    from holdfast.hub.learning import experiences, leave_one_out

    folder = hub.find(WORKFLOW).folder / "kernels"
    records: list[Record] = []
    first: Any = None
    for kernel in kernels:
        source = folder / f"{kernel}.c"
        if not source.is_file():
            known = ", ".join(sorted(path.stem for path in folder.glob("*.c")))
            raise UsageError("kernels", expected=f"some of {known}", got=kernel)
        inputs = {"source": str(source), "repeats": repeats, "tolerance": tolerance}
        study = hub.tune(WORKFLOW, GOALS, inputs=inputs, trials=trials, sampler="random", seed=seed)
        first = first or study
        failed = sum(trial.error is not None for trial in study.trials)
        labels: dict[str, Label] = {"kernel": kernel}
        records += [
            _count("front", len(study.front.indices), labels),
            _count("failed_trials", failed, labels),
            *(_with(record, labels) for record in study.experiment.records),
        ]
    records.append(_count("objectives", len(GOALS), {}))
    write_text(out / "front.svg", figure(first))
    _best(first, out)
    choices = list(hub.find(WORKFLOW).to_json()["choices"])
    if len(kernels) >= 3:
        seen = experiences("tune-compiler-flags", "wall_time", choices, features=FEATURES)
        records += learned(leave_one_out(seen, seed=seed))
    write_records(out / "records.jsonl", records)


def learned(judged: Any) -> list[Record]:
    """Records of what learning is worth: the regret of each way, the gain of each model over the average."""
    records = [
        Record(
            metric="regret",
            value=regret.mean,
            unit="1",
            direction="lower",
            n=len(regret.each),
            interval=regret.interval,
            labels={"way": way},
            timed=True,
        )
        for way, regret in judged.regrets.items()
    ]
    records.append(_count("techniques", len(judged.gains), {}))
    records.append(_count("techniques_that_help", len(judged.helps), {}))
    return records


def figure(study: Any) -> str:
    """The points of a study, wall time against size, with intervals, and the front among them, as SVG."""
    from importlib import import_module

    from holdfast.programs.charts import PALETTE, WIDTH, svg

    alt: Any = import_module("altair")

    rows = []
    for index, trial in enumerate(study.trials):
        if not trial.eligible:
            continue
        time, size = trial.values["wall_time"], trial.values["binary_size"]
        low, high = trial.intervals.get("wall_time", (time, time))
        level = str(trial.choices.get("build.level"))
        on = "on the front" if index in study.front.indices else "dominated"
        rows.append({"time": time, "low": low, "high": high, "size": size / 1e3, "level": level, "where": on})
    kinds = ["on the front", "dominated"]
    scale = alt.Scale(zero=False, nice=True)
    y = alt.Y("size:Q", title="size of the program (kB)", scale=scale)
    legend = alt.Legend(orient="top", title=None)
    colour = alt.Color("where:N", scale=alt.Scale(domain=kinds, range=[PALETTE[1], "#888888"]), legend=legend)
    base = alt.Chart(alt.Data(values=rows))
    bars = base.mark_rule().encode(
        x=alt.X("low:Q", title="wall time (ms)", scale=scale), x2="high:Q", y=y, color=colour
    )
    points = base.mark_point(filled=True, size=60).encode(
        x=alt.X("time:Q", title="wall time (ms)", scale=scale),
        y=y,
        color=colour,
        shape=alt.Shape("where:N", scale=alt.Scale(domain=kinds), legend=legend),
    )
    names = base.transform_filter("datum.where == 'on the front'").mark_text(dy=-10, fontSize=11)
    words = names.encode(x="time:Q", y=y, text="level:N")
    return svg((bars + points + words).properties(width=WIDTH, height=300))


def _best(study: Any, out: Path) -> None:
    """Copy the fastest program of the front, and its build without optimisation."""
    from holdfast.hub.picking import pick
    from holdfast.hub.run_record import experiments

    index = pick("best:wall_time", [t.values for t in study.trials], GOALS, study.front.indices)
    trial = study.trials[index]

    (file,) = experiments().glob(f"compiler-flags/{trial.run}/run.json")
    steps = {step["id"]: step for step in json.loads(file.read_text(encoding="utf-8"))["steps"]}
    for name in ("binary", "reference"):
        shutil.copyfile(steps["build"]["outputs"][name], out / name)
    write_json(
        out / "chosen.json", {"choices": trial.choices, "values": trial.values, "rule": "best:wall_time"}
    )


def benchmark(out: Path, *, binary: Path, reference: Path, pairs: int) -> None:
    """Time the chosen program and the one without optimisation in turn; record the paired ratio of times."""
    from holdfast.core.timing import time_pairs
    from holdfast.programs.time_binary import executable, output_of

    own, plain = executable(binary, out / "chosen"), executable(reference, out / "plain")
    times = time_pairs(
        lambda: output_of(plain, [], 60), lambda: output_of(own, [], 60), pairs=pairs, warmup=1
    )
    record = Record(
        metric="time_ratio",
        value=times.ratio,
        unit="1",
        direction="lower",
        n=pairs,
        interval=times.interval(),
        timed=True,
        labels={"against": "-O0"},
    )
    write_records(out / "records.jsonl", [record])


def _count(metric: str, value: int, labels: dict[str, Label]) -> Record:
    return Record(metric=metric, value=value, unit="1", direction="none", labels=labels)


def _with(record: Record, labels: dict[str, Label]) -> Record:
    return record.model_copy(update={"labels": {**record.labels, **labels}, "timed": True})

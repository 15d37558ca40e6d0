"""Program ``front``: points from records, and which of them no other point dominates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.core.paths import write_json
from holdfast.core.result import Record, read_records


def run(out: Path, *, records: list[Path], objectives: dict[str, str] | None, by: list[str]) -> None:
    """Write ``out/front.json`` (``find_front``); by default of quality, latency, SDC and noise."""
    everything = [record for path in records for record in read_records(path)]
    write_json(out / "front.json", find_front(everything, objectives or _standard(everything), by))


def _standard(records: Sequence[Record]) -> dict[str, str]:
    two_classes = any(record.metric == "auc" and record.labels.get("split") == "test" for record in records)
    quality = "auc" if two_classes else "accuracy"
    objectives = {
        f"{quality}[split=test]": "higher",
        "latency[batch=1]": "lower",
        "critical_sdc_rate[site=output]": "lower",
    }
    noises = sorted(
        (size, label)
        for record in records
        if record.metric == quality and record.labels.get("stressor") == "gaussian_noise"
        for label, size in record.labels.items()
        if label.startswith("sigma")
    )
    if noises:
        size, label = noises[len(noises) // 2]
        objectives[f"{quality}[stressor=gaussian_noise,{label}={size}]"] = "higher"
    return objectives


def find_front(records: Sequence[Record], objectives: dict[str, str], by: Sequence[str]) -> dict[str, Any]:
    """The points that ``records`` make and whether each is on the Pareto front, as a JSON object.

    ``objectives`` map selectors such as ``latency[batch=1]`` to "higher" or "lower"; ``by`` names the labels
    whose values make a point. A point is off the front if another one is better beyond the intervals
    (``hub.pareto``), or if an objective is missing. Raises UsageError where several records fit one selector.
    """
    from holdfast.hub import pareto, points_from_records

    points = points_from_records(records, by, metrics=list(objectives))
    front = pareto([point.values for point in points], objectives, [point.intervals for point in points])
    return {
        "objectives": objectives,
        "points": [
            {
                "labels": point.labels,
                "values": point.values,
                "intervals": point.intervals,
                "on_front": index in front.indices,
            }
            for index, point in enumerate(points)
        ],
    }

"""Program ``front``: points from records, and which of them no other point dominates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.core.paths import write_json
from holdfast.core.result import Record, read_records


def run(out: Path, *, records: list[Path], objectives: dict[str, str], by: list[str]) -> None:
    """Write ``out/front.json``: see ``find_front``."""
    everything = [record for path in records for record in read_records(path)]
    write_json(out / "front.json", find_front(everything, objectives, by))


def find_front(records: Sequence[Record], objectives: dict[str, str], by: Sequence[str]) -> dict[str, Any]:
    """The points that ``records`` make and whether each is on the Pareto front, as a JSON object.

    ``objectives`` map selectors such as ``latency[batch=1]`` to "higher" or "lower"; ``by`` names the labels
    whose values make a point. A point in which an objective is missing is never on the front. Raises
    UsageError where several records fit one selector.
    """
    from holdfast.hub import pareto, points_from_records

    points = points_from_records(records, by, metrics=list(objectives))
    front = pareto([point.values for point in points], objectives)
    return {
        "objectives": objectives,
        "points": [
            {"labels": point.labels, "values": point.values, "on_front": index in front.indices}
            for index, point in enumerate(points)
        ],
    }

"""Detection by ``hub.access``."""

from __future__ import annotations

from typing import Any

from holdfast.hub.accessing import Request
from holdfast.hub.detection.detecting import outcome, outcome_of_all


def answer(request: Request) -> dict[str, Any]:
    """What one plugin finds, or every one if none is named: ``{"outcomes": […]}``. Raises HoldfastError."""
    refresh = request.get("refresh", bool, False)
    if set(request.values) <= {"refresh"} or set(request.values) - {"refresh"} == {"kind"}:
        return {"outcomes": [each.to_json() for each in outcome_of_all(refresh=refresh)]}
    made = outcome(request.spec, refresh=refresh, inputs=request.get("inputs", dict, {}))
    return {"outcomes": [made.to_json()]}

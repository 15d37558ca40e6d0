"""Packages and locks in the JSON shape of ``hub.access``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.hub import lock as locks
from holdfast.hub.needs import packages_of
from holdfast.hub.packages import install as install_one
from holdfast.hub.packages import planned
from holdfast.hub.repository import find

if TYPE_CHECKING:
    from holdfast.hub.accessing import Request


def install(request: Request) -> dict[str, Any]:
    """Install what the component needs, and itself if it is a package: ``{"packages": […]}``.

    With ``dry_run`` only what would be done; ``offline``, ``from``, ``accept`` as for the verb.
    """
    given = request.path("from")
    components = packages_of(find(request.spec), software=request.get("software", dict))
    if request.get("dry_run", bool, False):
        return {"packages": [asdict(planned(component, given=given)) for component in components]}
    made = [
        install_one(
            component,
            offline=bool(request.get("offline", bool, False)),
            given=given,
            accept=request.get("accept", list, []),
        )
        for component in components
    ]
    return {"packages": [item.to_json() for item in made]}


def lock(request: Request) -> dict[str, Any]:
    """Lock the component on ``inputs``, into the file ``out``: ``{"lock": {…}, "file": path}``."""
    out = request.path("out") or Path(locks.FILE)
    made = locks.pin(find(request.spec), request.get("inputs", dict), software=request.get("software", dict))
    locks.write(made, out)
    return {"lock": made.model_dump(mode="json", by_alias=True), "file": str(out)}

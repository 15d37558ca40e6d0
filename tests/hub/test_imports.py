"""What a step's process and a mere import must not pay for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("holdfast.hub.worker", ["pydantic", "numpy", "torch", "rich", "packaging"]),
        ("holdfast.hub", ["pydantic", "numpy", "torch"]),
        ("holdfast.hub.runner", ["torch", "optuna", "jinja2"]),
        ("holdfast.hub.tuning", ["torch", "optuna"]),
    ],
)
def test_modules_that_stay_away(module, forbidden):
    code = f"import sys, {module}; print(*[name for name in {forbidden} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_all_names_of_the_hub_exist():
    from holdfast import hub

    for name in hub.__all__:
        assert getattr(hub, name) is not None
    assert set(dir(hub)) == set(hub.__all__)
    with pytest.raises(AttributeError, match="no attribute 'zzz'"):
        hub.zzz  # noqa: B018

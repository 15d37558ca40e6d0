"""Importing the package stays cheap."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning_fabric", "h5py", "sklearn", "scipy", "optuna", "altair")


def imported(statement):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True
    )
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.count("|") == 2}


@pytest.mark.parametrize(
    "statement", ["import holdfast", "import holdfast; dir(holdfast)", "import holdfast.hub"], ids=str
)
def test_no_heavy_package_is_imported(statement):
    modules = imported(statement)
    assert "holdfast" in modules
    assert not modules & set(HEAVY)


@pytest.mark.parametrize(
    "name",
    ["canonical", "environment", "errors", "jsonl", "paths", "progress", "protocols", "registry", "seeding"],
)
def test_core_needs_no_torch(name):
    assert "torch" not in imported(f"import holdfast.core.{name}")


def test_unknown_attributes_are_named():
    import holdfast

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = holdfast.nothing

"""Installed software made of a few lines of shell, in a home and on a PATH of the test's own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.core.canonical import content_hash
from holdfast.hub.component import load


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def says(path: Path, output: str) -> Path:
    """A script that prints ``output``, whatever it is asked."""
    return script(path, f"/bin/cat <<'END'\n{output}\nEND")


def distribution(site: Path, name: str, version: str) -> Path:
    """An installed Python distribution's metadata; returns its RECORD."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text(f"{name}/__init__.py,sha256=47DEQpj8HBSa,0\n")
    return folder / "RECORD"


def interpreter(path: Path, *sites: Path) -> Path:
    """A script that answers like an interpreter asked for its search path."""
    return says(path, json.dumps([str(site) for site in sites]))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """``bin`` is all of PATH; ``plugin(**detect)`` a component that detects; the home is empty."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(binaries))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def plugin(name="toy", code=(), root=tmp_path / "repo", inputs=None, **detect):
        folder = root / "soft" / name
        folder.mkdir(parents=True, exist_ok=True)
        description = {
            "schema": "holdfast.component/1",
            "kind": "soft",
            "name": name,
            "uid": content_hash(["soft", name])[:16],
            "version": "1.0.0",
            "title": "Toy",
            "inputs": inputs or {},
            "detect": detect,
        }
        (folder / "component.json").write_text(json.dumps(description))
        for file, text in dict(code).items():
            (folder / file).write_text(text)
        return load(folder)

    return SimpleNamespace(bin=binaries, plugin=plugin, home=tmp_path / "home", root=tmp_path)

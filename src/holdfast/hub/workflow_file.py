"""Workflows given as plain files, outside any repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from holdfast.core.canonical import content_hash, hash_file
from holdfast.core.errors import ComponentError
from holdfast.hub.component import Component, no_duplicates, wrong_fields
from holdfast.hub.kinds import Workflow
from holdfast.hub.repository import find


@dataclass(frozen=True)
class FileComponent(Component):
    """A workflow whose description is the file ``path``, which may lie anywhere."""

    path: Path

    @property
    def file(self) -> Path:
        """The file that describes it."""
        return self.path

    @cached_property
    def hash(self) -> str:
        """Content hash of the file alone: what lies beside it is no part of the workflow."""
        return hash_file(self.path)


def locate(spec: str, *, project: Path | None = None) -> Component:
    """The component that ``kind:name[@range]`` means, or the workflow in a file ``….json``."""
    return open_workflow(Path(spec)) if spec.endswith(".json") else find(spec, project=project)


def open_workflow(path: Path) -> Component:
    """The workflow in the file ``path``: like a ``component.json``, but only ``steps`` are required.

    Its name is the file's where it has none. Paths are relative to the file, and programs are found in the
    repositories, the file's folder (``program/<name>/``) being the first. Raises ComponentError.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=no_duplicates)
    except (OSError, ValueError) as error:
        raise ComponentError(str(path), expected="a workflow in JSON", got=str(error)) from error
    if not isinstance(data, dict):
        raise ComponentError(str(path), expected="a JSON object", got=type(data).__name__)
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in path.stem.lower()).strip("-") or "file"
    absent = {
        "schema": "holdfast.component/1",
        "kind": "workflow",
        "name": name,
        "uid": content_hash(["file", str(path.resolve())])[:16],
        "version": "0.0.0",
        "title": path.stem,
    }
    try:
        meta = Workflow.model_validate({**absent, **data})
    except ValidationError as error:
        raise ComponentError(str(path), got=wrong_fields(error, 0)) from error
    folder = path.resolve().parent
    return FileComponent(meta, folder, "file", folder, path.resolve())

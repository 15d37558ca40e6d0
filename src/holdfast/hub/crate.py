"""A run as a Process Run Crate: each step an action with its program, its inputs and outputs, all hashed.

RO-Crate 1.1 (Soiland-Reyes et al. 2022) and its profile Process Run Crate 0.5 (Leo et al. 2024).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from holdfast.core.canonical import hash_file, hash_path
from holdfast.core.errors import UsageError
from holdfast.hub import run_record

PROFILE: Final = "https://w3id.org/ro/wfrun/process/0.5"
_STATUS = {"failed": "Failed", "interrupted": "Failed"}


def write(folder: Path, target: Path, *, copy: bool = False) -> None:
    """Describe the run in ``folder`` as a crate in the empty folder ``target``.

    Its own files lie in the crate. Data are entities named by their SHA-256 (``ni:///sha-256;…``, RFC 6920;
    folders by the hash of their tree), and with ``copy`` those that are unchanged on this machine lie in it.
    Raises UsageError without rocrate, DataError for a damaged run.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        remedy = "pip install holdfast[crate]"
        raise UsageError("an RO-Crate", expected="rocrate", got="not installed", remedy=remedy) from error
    run = run_record.load(folder)
    _Crate(ROCrate(gen_preview=False), run, folder, copy).write(target)


class _Crate:
    def __init__(self, crate: Any, run: Mapping[str, Any], folder: Path, copy: bool) -> None:
        self.crate, self.run, self.folder, self.copy = crate, run, folder, copy
        self.data: dict[str, Any] = {}
        self.paths = {step["hashes"][n]: p for step in run["steps"] for n, p in step["outputs"].items()}
        if copy:  # what was given by path may still be there
            values = [value if isinstance(value, list) else [value] for value in run["inputs"].values()]
            there = [Path(each) for given in values for each in given if isinstance(each, str)]
            self.paths |= {hash_path(path): str(path) for path in there if path.exists()}
        crate.metadata.extra_terms["sha256"] = "https://schema.org/sha256"

    def write(self, target: Path) -> None:
        run, root = self.run, self.crate.root_dataset
        self._add(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
        root["conformsTo"] = {"@id": PROFILE}
        root["name"] = f"{run['component']} {run['version']}, run {run['id']}"
        root["description"] = (
            f"A run of {run['component']} by Holdfast, status {run['status']}: its records, and what it did."
        )
        root["datePublished"] = run["started"]
        for file in sorted(path for path in self.folder.iterdir() if path.is_file()):
            properties = {"name": file.name, "sha256": hash_file(file), "contentSize": file.stat().st_size}
            self.crate.add_file(file, file.name, properties=properties)
        machine = self._add("#machine", "Thing", name=run["host"], description=_words(run["platform"]))
        actions = [self._action(step, machine) for step in run["steps"] if step["facets"] is not None]
        root["mentions"] = actions
        self.crate.write(target)

    def _action(self, step: Mapping[str, Any], machine: Any) -> Any:
        inputs = [self._input(step["id"], name, value) for name, value in step["facets"]["inputs"].items()]
        for name, found in step["facets"]["files"].items():
            inputs += [self._data(name, each) for each in ([found] if isinstance(found, str) else found)]
        outputs = [self._data(name, digest) for name, digest in step["hashes"].items()]
        properties = {
            "name": step["title"] or step["id"],
            "actionStatus": f"http://schema.org/{_STATUS.get(step['status'], 'Completed')}ActionStatus",
            "instrument": self._program(step),
            "object": inputs,
            "result": outputs,
            "location": machine,
            "description": f"{step['status']}: {'; '.join(step['reasons'])}",
        }
        if step["made"] is not None:
            properties["endTime"] = step["made"]
            if step["status"] == "ran":
                began = datetime.fromisoformat(step["made"]) - timedelta(seconds=step["seconds"])
                properties["startTime"] = began.isoformat(timespec="seconds")
        if step["status"] in _STATUS:
            properties["error"] = self.run["error"] or step["status"]
        return self._add(f"#step-{step['id']}", "CreateAction", **properties)

    def _program(self, step: Mapping[str, Any]) -> Any:
        component, software = step["facets"]["component"], step["facets"]["software"]
        needed = [
            self._add(f"#software-{name}-{version}", "SoftwareApplication", name=name, version=version)
            for name, version in software.items()
        ]
        return self._add(
            f"#{component['id']}@{component['version']}",
            "SoftwareApplication",
            name=component["id"],
            version=component["version"],
            identifier=f"tree-sha256:{component['hash']}",
            softwareRequirements=needed,
        )

    def _input(self, step: str, name: str, value: Any) -> Any:
        text = value if isinstance(value, str | int | float) else str(value)
        return self._add(f"#{step}.{name}", "PropertyValue", name=name, value=text)

    def _data(self, name: str, found: str) -> Any:
        """The entity of a file ``name:digest`` or of what has this digest; the same data are one entity."""
        file, _, digest = found.rpartition(":")
        if digest in self.data:
            return self.data[digest]
        path = Path(self.paths[digest]) if digest in self.paths else None
        is_folder = not file and (path is None or path.is_dir() or not path.suffix)
        kind = "Dataset" if is_folder else "File"
        shown = file or (path.name if path else name)
        properties: dict[str, Any] = {"name": shown}
        if is_folder:
            properties["identifier"] = f"tree-sha256:{digest}"
            where = f"urn:holdfast:tree-sha256:{digest}"
        else:
            properties["sha256"] = digest
            where = f"ni:///sha-256;{urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip('=')}"
        if self.copy and path is not None and path.exists() and hash_path(path) == digest:
            add = self.crate.add_tree if path.is_dir() else self.crate.add_file
            entity = add(path, f"data/{digest[:16]}/{shown}", properties=properties)
        else:
            from rocrate.model.data_entity import DataEntity

            entity = self.crate.add(DataEntity(self.crate, where, {"@type": kind, **properties}))
        self.data[digest] = entity
        return entity

    def _add(self, where: str, kind: str, **properties: Any) -> Any:
        from rocrate.model.contextentity import ContextEntity

        known = self.crate.get(where)
        return known or self.crate.add(ContextEntity(self.crate, where, {"@type": kind, **properties}))


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())

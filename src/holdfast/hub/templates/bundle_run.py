"""Start what was deployed, or run its configuration again (--again, --locked: with everything as it was)."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def absolute(value: Any) -> Any:
    """A value of config.json with the bundle's own files by their full names."""
    if isinstance(value, list):
        return [absolute(item) for item in value]
    if isinstance(value, dict) and set(value) == {"path"}:
        return str(HERE / value["path"])
    return value


def again(arguments: list[str]) -> int:
    """Run the configuration by Holdfast; results go to ./results."""
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    inputs = {name: absolute(value) for name, value in config["inputs"].items()}
    repositories = [str(HERE / "components"), os.environ.get("HOLDFAST_REPO", "")]
    environment = {**os.environ, "HOLDFAST_REPO": os.pathsep.join(filter(None, repositories))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inputs.json"
        file.write_text(json.dumps(inputs), encoding="utf-8")
        command = [sys.executable, "-m", "holdfast.cli", "run", config["component"], f"@{file}"]
        command += ["--out", "results", *arguments]
        return subprocess.run(command, env=environment).returncode


def main() -> int:
    """Choose between the two."""
    arguments = sys.argv[1:]
    rest = [word for word in arguments if word not in ("--again", "--locked")]
    if "--locked" in arguments:
        return again([*rest, "--locked", "--lock", str(HERE / "holdfast.lock.json")])
    if "--again" in arguments:
        return again(rest)
    script, binary = HERE / "files" / "run.py", HERE / "files" / "run"
    if script.is_file():
        return subprocess.run([sys.executable, str(script), *arguments]).returncode
    if binary.is_file():
        binary.chmod(binary.stat().st_mode | 0o100)
        return subprocess.run([str(binary), *arguments]).returncode
    return again(arguments)


sys.exit(main())

"""The page on a user's own programs, followed to the letter: its files written, its commands run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.result import read_records

PAGE = Path(__file__).parents[2] / "docs" / "your-own-program.md"
FILE = re.compile(r"^`(?P<name>strangers/\S+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_page_does_what_it_says(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    for file in FILE.finditer(text):
        path = tmp_path / file["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["text"])
        assert "import holdfast" not in file["text"]
    commands = [
        line[2:] for block in CONSOLE.findall(text) for line in block.splitlines() if line.startswith("$ ")
    ]
    assert len(commands) == 14
    binaries = tmp_path / "bin"
    binaries.mkdir()
    launcher = binaries / "holdfast"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast.cli "$@"\n')
    launcher.chmod(0o755)
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    environment.pop("HOLDFAST_REPO", None)
    printed = {}
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        refused = command.endswith("# refused")
        assert done.returncode == (3 if refused else 0), f"{command}\n{done.stdout}{done.stderr}"
        assert not refused or "expected your consent to the code in it" in done.stderr
        printed[command] = done.stdout
    assert "Nothing of it may run yet" in printed["holdfast pull strangers.zip"]
    assert "program:pi" in printed["holdfast search darts"]
    records = {record.metric: record for record in read_records(tmp_path / "results" / "records.jsonl")}
    assert records["heat_left"].value == pytest.approx(100)
    assert records["time"].timed
    steps = json.loads((tmp_path / "results" / "run.json").read_text())["steps"]
    assert "soft:gcc" in json.dumps(steps[0]["facets"]), "the compiler counts in what it made"
    assert "reproduced: workflow:pi" in printed["holdfast replay pi"]

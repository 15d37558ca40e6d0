"""The command line as a user has it: a process of its own, an empty home."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def holdfast(tmp_path):
    """Return a function that runs ``holdfast`` with the given words in ``tmp_path``."""

    def run(*words, check=True, timeout=120):
        environment = {**os.environ, "HOLDFAST_HOME": str(tmp_path / "home"), "COLUMNS": "160"}
        done = subprocess.run(
            [sys.executable, "-m", "holdfast.cli", *map(str, words)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, done.stderr + done.stdout
        return done

    return run

"""Workflows as users run them: through the command line, in an empty home."""

import json
import os
import subprocess
import sys

import pytest

SMALL = {
    "data": "digits",
    "events": 600,
    "epochs": 1,
    "trials": 4,
    "stressors": [
        {"name": "bit_flips", "site": "output", "bits": [30, 29], "trials": 40},
        {"name": "bit_flips", "site": "weight", "bits": "exponent", "trials": 20},
        {"name": "gaussian_noise", "sigma_fraction_of_max": 0.1},
        {"name": "dead_channels", "rate": 0.1},
        {"name": "pgd", "eps": 0.05, "steps": 2},
    ],
    "objectives": {"accuracy[split=test]": "higher", "latency[batch=1]": "lower"},
}


class Runner:
    """``holdfast`` in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.inputs = folder / "inputs.json"
        self.inputs.write_text(json.dumps(SMALL))
        self.environment = {**os.environ, "HOLDFAST_HOME": str(folder / "home")}

    def command(self, *words):
        return [sys.executable, "-m", "holdfast.cli", *map(str, words)]

    def start(self, *words):
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __call__(self, *words):
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def make_runner(tmp_path):
    """Return a function that makes a Runner with an empty home, by name."""

    def make(name="run"):
        folder = tmp_path / name
        folder.mkdir()
        return Runner(folder)

    return make

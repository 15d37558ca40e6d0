"""Training killed by SIGKILL at random moments ends with the bytes of an undisturbed one."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import warm
from holdfast.core import jsonl
from holdfast.training import VOLATILE

SCRIPT = Path(__file__).with_name("killable.py")


def outcome(out):
    lines = [
        {k: v for k, v in line.items() if k not in VOLATILE} for line in jsonl.read(out / "history.jsonl")
    ]
    return json.dumps(lines), (out / "best.safetensors").read_bytes()


def weights(out):
    import torch

    content = torch.load(out / "last.pt", weights_only=True)
    return content["model"], content["optimizer"]["state"]


def test_five_kills_change_nothing(tmp_path):
    import torch

    warm.run(["-c", "pass"], tmp_path / "output")  # so that torch is imported before the clock starts
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    began = time.monotonic()
    warm.run([str(SCRIPT), str(whole)], tmp_path / "output")
    duration = time.monotonic() - began

    draw, kills = random.Random(4), 0
    for _ in range(5):
        process = warm.start([str(SCRIPT), str(killed)], tmp_path / "output")
        # The clock starts with the first checkpoint: before it, there are only imports.
        while not (killed / "last.pt").exists() and process.is_alive():
            time.sleep(0.01)
        time.sleep(draw.uniform(0.1, 0.7) * duration if kills else draw.uniform(0, 0.3))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    warm.run([str(SCRIPT), str(killed)], tmp_path / "output")

    assert kills >= 2, "the training was over before it could be killed"
    assert outcome(killed) == outcome(whole)
    (model, optimizer), (other_model, other_optimizer) = weights(whole), weights(killed)
    assert all(torch.equal(value, other_model[key]) for key, value in model.items())
    for index, values in optimizer.items():
        assert all(torch.equal(value, other_optimizer[index][key]) for key, value in values.items())
    assert not list(killed.glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["cross_entropy", "fast", "masked"])
def test_two_processes_train_one_model_and_resume(tmp_path, objective):
    import torch

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    for out, steps in (("a", 0), ("b", 8), ("b", 0)):
        script = [str(SCRIPT.with_name("two_processes.py")), str(tmp_path / out), objective, str(steps)]
        done = subprocess.run([*command, *script], capture_output=True, timeout=180, check=False)
        assert (done.returncode != 0) == (steps > 0), done.stderr.decode()
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")
    if objective == "fast":
        memories = [torch.load(path, weights_only=True) for path in sorted(tmp_path.glob("*/memory*.pt"))]
        assert len(memories) == 4
        assert (memories[0]["rounds"] >= 0).all()  # of all 101 images, whichever process had them
        assert (memories[0]["values"] != 0).flatten(1).any(1).all()
        assert all(torch.equal(memories[0]["values"], other["values"]) for other in memories)

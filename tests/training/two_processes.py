"""A training in two processes, for ``torchrun``: ``two_processes.py OUT``."""

import faulthandler
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Blobs, make_model
from holdfast import training

if __name__ == "__main__":
    faulthandler.dump_traceback_later(120, exit=True)  # a hung process would outlive the test
    torch.set_num_threads(1)
    training.fit(
        make_model(),
        Blobs(n=101),
        Blobs(n=40, seed=1),
        epochs=2,
        batch_size=20,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        out=Path(sys.argv[1]),
    )

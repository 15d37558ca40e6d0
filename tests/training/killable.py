"""A training of a few seconds, for tests that kill it: ``python killable.py OUT``."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Blobs, make_model
from holdfast import training

if __name__ == "__main__":
    torch.set_num_threads(1)
    training.fit(
        make_model(),
        Blobs(n=600),
        Blobs(n=100, seed=1),
        epochs=4,
        batch_size=16,
        seed=3,
        objective="noise",
        checkpoint_steps=5,
        out=Path(sys.argv[1]),
    )

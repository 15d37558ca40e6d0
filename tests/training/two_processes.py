"""A training in two processes, for ``torchrun``: ``two_processes.py OUT OBJECTIVE STEPS``.

After STEPS steps the processes die, unless it is 0.
"""

import faulthandler
import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Blobs, make_model
from holdfast import models, training
from holdfast.training import objectives
from holdfast.training.augment import CropFlip


class Dying(CropFlip):
    """Ends its process at one step."""

    left = int(sys.argv[3]) or -1

    def draw(self, images, generator):
        Dying.left -= 1
        if Dying.left == -1:
            os._exit(3)
        return super().draw(images, generator)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(120, exit=True)  # a hung process would outlive the test
    torch.set_num_threads(1)
    out, objective = Path(sys.argv[1]), sys.argv[2]
    options = {
        "epochs": 2,
        "batch_size": 20,
        "accelerator": "cpu",
        "devices": 2,
        "strategy": "ddp",
        "augment": Dying(),
        "checkpoint_steps": 1,
        "out": out,
    }
    streams = Blobs(n=101), Blobs(n=40, seed=1)
    if objective == "masked":
        torch.manual_seed(0)
        shape = {"patch": 2, "dim": 8, "depth": 1, "heads": 2, "mlp": 8}
        model = models.create("vit", in_channels=1, classes=2, size=8, **shape)
        training.pretrain_masked(model, *streams, **options)
    else:
        made = objectives.create(objective)
        # A copy tells the time in every process, before the first step that they share.
        training.fit(make_model(), *streams, **options, objective=made, on_estimate=print)
        if objective == "fast":
            torch.save(made.state(), out / f"memory{os.environ['RANK']}.pt")

"""oneDNN's example cnn_inference_f32, protected: AlexNet with LRN and grouped convolutions, batch 1.

Random weights and images, as there: time does not depend on them. Plain and protected run in turn, 100 times;
a fault then strikes conv2, and the answer holds.

Run: python examples/onednn_cnn_inference_f32.py [runs]
"""

import sys

import numpy as np
import torch

import holdfast
from holdfast import models, stress
from holdfast.core.protocols import named_layers
from holdfast.core.timing import time_pairs


def main(runs: int = 100) -> None:
    """Time ``runs`` pairs, then flip an exponent bit."""
    torch.manual_seed(0)
    model = models.create("alexnet_caffe", in_channels=3, classes=1000, size=227).eval()
    x = torch.rand(1, 3, 227, 227)
    protected = holdfast.protect(model)
    with torch.inference_mode():
        clean = protected(x)
        timing = time_pairs(lambda: model(x), lambda: protected(x), runs)
    assert not protected.events, "a false alarm"
    span = timing.interval()
    print(
        f"AlexNet, batch 1, {runs} pairs, {torch.get_num_threads()} threads:"
        f" plain {np.median(timing.a_ms):.1f} ms, protected {np.median(timing.b_ms):.1f} ms,"
        f" ratio {timing.ratio:.3f} [{span.low:.3f}, {span.high:.3f}]"
    )
    conv2 = [name for name, layer in named_layers(model) if isinstance(layer, torch.nn.Conv2d)][1]
    flip = stress.BitFlip(layer=conv2, site="output", index=(0, 200, 13, 13), bit=30)
    with stress.inject(protected, [flip]), torch.inference_mode():
        answer = protected(x)
    (event,) = protected.events
    assert torch.allclose(answer, clean, rtol=1e-4, atol=1e-6 * float(clean.abs().max()))
    print(f"fault in {event.layer}: {event.action} ({event.scheme}); the answer is the clean one")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

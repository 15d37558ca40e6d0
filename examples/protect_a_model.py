"""Protect a CNN, flip a bit in it, and see the answer hold.

Run: python examples/protect_a_model.py
"""

import torch

import holdfast
from holdfast import data, models, stress


def main() -> None:
    x, _ = next(data.open("digits", split="test").batches(8))
    torch.manual_seed(0)
    model = models.create("cnn", in_channels=1, classes=10, size=8).eval()
    protected = holdfast.protect(model)
    clean = model(x).argmax(1)

    flip = stress.BitFlip(layer="blocks.1.conv", site="output", index=(0, 5, 1, 1), bit=30)
    for name, network in (("plain", model), ("protected", protected)):
        with stress.inject(network, [flip]), torch.inference_mode():
            logits = network(x)
        changed = int((logits.argmax(1) != clean).sum())
        print(f"{name}: {changed} of {len(x)} decisions changed, largest logit {logits.abs().max():.3g}")
    for event in protected.events:
        print(
            f"{event.layer}: deviation {event.deviation:.3g}, threshold {event.threshold:.3g}, {event.action}"
        )


if __name__ == "__main__":
    main()

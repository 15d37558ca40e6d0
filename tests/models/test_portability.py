"""Every family for detector images leaves as ONNX for old runtimes, and can be protected."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from holdfast import models, protect
from holdfast.core.protocols import named_layers

FAMILIES = {
    "cnn_egamma": (32, {}, "layers.2"),
    "resnet15": (8, {"width": 0.25}, "layer2.0.shortcut.0"),
    "vit": (8, {"dim": 8, "depth": 1}, "blocks.0.attn.proj"),
    "vit with all options": (
        9,
        {"dim": 8, "depth": 1, "head_dim": 3, "pad": True, "shifted": True, "locality": True},
        "embed",
    ),
    "simple_vit": (8, {"dim": 8, "depth": 1, "heads": 2}, "blocks.0.mlp.3"),
    "deep_vit": (8, {"dim": 8, "depth": 1}, "blocks.0.attn.theta"),
    "scalable_vit": (15, {"dims": (8,), "depths": (2,), "heads": (2,)}, "stages.0.blocks.0.attn.local"),
    "cct": (8, {"dim": 8, "depth": 1}, "tokenizer.1.conv"),
}


@pytest.fixture(params=FAMILIES)
def case(request):
    size, options, layer = FAMILIES[request.param]
    torch.manual_seed(0)
    model = models.create(request.param.split()[0], in_channels=2, classes=3, size=size, **options)
    x = torch.rand(5, 2, size, size)
    with torch.no_grad():
        model.train()(x)  # statistics of batch norms leave their defaults
    return model.eval(), x, layer


def test_its_onnx_gives_its_logits_for_any_batch(case):
    model, x, _ = case
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            model,
            (x[:2],),
            file,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    assert onnx.load_from_string(file.getvalue()).ir_version <= 9
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(x).numpy()
    for n in (1, 5):
        np.testing.assert_allclose(session.run(None, {"x": x[:n].numpy()})[0], expected[:n], atol=1e-6)


def test_protected_it_gives_them_too_and_corrects_a_fault(case):
    model, x, name = case
    protected = protect(model, plan=None)
    with torch.inference_mode():
        clean = model(x)
        torch.testing.assert_close(protected(x), clean, rtol=1e-5, atol=1e-6)
        assert protected.events == []
        assert protected.unprotected == []
        hits = []

        def spoil(module, args, output):
            if not hits:
                hits.append(output[0].flatten()[0].item())
                hit(output)

        handle = dict(named_layers(protected))[name].register_forward_hook(spoil)
        torch.testing.assert_close(protected(x), clean, rtol=1e-5, atol=1e-6)
        handle.remove()
        assert not torch.allclose(wrong(model, x, name), clean, rtol=1e-3)  # it would have mattered
    assert hits
    (event,) = protected.events
    assert (event.layer, event.corrected) == (name, True)


def hit(output):
    """Damage the first element of the first image; layouts in memory differ."""
    output[(0,) * output.ndim] = 1e4


def wrong(model, x, name):
    """The logits of the plain model with the same fault."""
    with model.get_submodule(name).register_forward_hook(lambda module, args, output: hit(output)):
        return model(x)

import torch
from torch import fx, nn

from holdfast import models

# The paper's network as Darknet's yolov2-voc.cfg lists it: (channels in, out, kernel), normalised ones.
LAYERS = [
    (3, 32, 3),
    (32, 64, 3),
    *[(64, 128, 3), (128, 64, 1), (64, 128, 3)],
    *[(128, 256, 3), (256, 128, 1), (128, 256, 3)],
    *[(256, 512, 3), (512, 256, 1), (256, 512, 3), (512, 256, 1), (256, 512, 3)],
    *[(512, 1024, 3), (1024, 512, 1), (512, 1024, 3), (1024, 512, 1), (512, 1024, 3)],
    *[(1024, 1024, 3), (1024, 1024, 3)],
    (512, 64, 1),
    (4 * 64 + 1024, 1024, 3),
]


def test_layers_parameters_and_map_are_those_of_the_paper():
    with torch.device("meta"):
        model = models.create("yolov2", in_channels=3, classes=20, size=416).eval()
        assert model(torch.empty(2, 3, 416, 416)).shape == (2, 125, 13, 13)
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m is not model.detect]
    assert sorted((m.in_channels, m.out_channels, m.kernel_size[0]) for m in found) == sorted(LAYERS)
    expected = sum(a * b * k * k + 2 * b for a, b, k in LAYERS) + (1024 + 1) * 5 * (5 + 20)
    assert sum(p.numel() for p in model.parameters()) == expected == 50_655_389


def test_a_narrow_one_runs_traces_and_goes_through_a_file(tmp_path):
    torch.manual_seed(0)
    model = models.create("yolov2", in_channels=2, classes=3, size=64, width=1 / 32, anchors=2)
    x = torch.rand(4, 2, 64, 64)
    assert model.train()(x).shape == (4, 16, 2, 2)
    model.eval()
    with torch.inference_mode():
        maps = model(x)
        assert torch.isfinite(maps).all()
        assert torch.equal(fx.symbolic_trace(model)(x), maps)
        models.save(model, tmp_path / "m.safetensors")
        assert torch.equal(models.load(tmp_path / "m.safetensors")(x), maps)


def test_passthrough_moves_two_by_two_pixels_into_channels():
    model = models.create("yolov2", in_channels=1, classes=2, size=32, width=1 / 64)
    moved = model.passthrough[1](torch.arange(8.0).view(1, 2, 2, 2))
    assert moved.flatten().tolist() == list(range(8))
    assert moved.shape == (1, 8, 1, 1)

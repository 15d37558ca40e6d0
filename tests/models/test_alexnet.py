import torch
from torch import fx

from holdfast import models


def test_names_and_shapes_are_those_of_torchvision():
    with torch.device("meta"):
        state = models.create("alexnet", in_channels=3, classes=1000, size=224).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items() if key.endswith("weight")}
    assert shapes == {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.weight": (192, 64, 5, 5),
        "features.6.weight": (384, 192, 3, 3),
        "features.8.weight": (256, 384, 3, 3),
        "features.10.weight": (256, 256, 3, 3),
        "classifier.1.weight": (4096, 9216),
        "classifier.4.weight": (4096, 4096),
        "classifier.6.weight": (1000, 4096),
    }


def test_the_form_of_onednn_has_its_shapes_and_traces():
    torch.manual_seed(0)
    model = models.create("alexnet_caffe", in_channels=3, classes=10, size=227).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if "weight" in key}
    assert shapes == {
        "conv1.weight": (96, 3, 11, 11),
        "conv2.weight": (256, 48, 5, 5),
        "conv3.weight": (384, 256, 3, 3),
        "conv4.weight": (384, 192, 3, 3),
        "conv5.weight": (256, 192, 3, 3),
        "fc6.weight": (4096, 9216),
        "fc7.weight": (4096, 4096),
        "fc8.weight": (10, 4096),
    }
    maps = {}
    for name in ("conv1", "conv2", "conv5"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: maps.update({name: out})
        )
    x = torch.rand(1, 3, 227, 227)
    with torch.inference_mode():
        logits = model(x)
        assert torch.equal(fx.symbolic_trace(model)(x), logits)
    assert [tuple(out.shape[1:]) for out in maps.values()] == [(96, 55, 55), (256, 27, 27), (256, 13, 13)]


def test_response_normalisation_by_hand():
    """b_c = a_c / (1 + (α/5) Σ a²)^β over the five channels around c."""
    with torch.device("meta"):
        response = models.create("alexnet_caffe", in_channels=3, classes=10, size=227).response
    a = 100 * torch.rand(1, 7, 2, 2)
    by_hand = torch.stack(
        [
            a[:, c] / (1 + 1e-4 / 5 * a[:, max(0, c - 2) : c + 3].square().sum(1)) ** 0.75
            for c in range(a.shape[1])
        ],
        1,
    )
    torch.testing.assert_close(response(a), by_hand)


def test_relus_between_linear_layers_are_an_option():
    with torch.device("meta"):
        plain, caffe = (
            models.create("alexnet_caffe", in_channels=3, classes=10, size=227, fc_relu=relu)
            for relu in (False, True)
        )
    assert isinstance(caffe.fc_relu, torch.nn.ReLU)
    assert isinstance(plain.fc_relu, torch.nn.Identity)

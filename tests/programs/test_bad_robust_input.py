"""Bad input of pruning, packing and attacking: a named error with the documented exit code."""

import json
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

from holdfast import models
from holdfast.core.errors import DataError, HoldfastError, UsageError
from holdfast.hub import repository
from holdfast.programs import baseline, pack, prune, robustness
from holdfast.subnet import Recipe, Subnetwork

PROGRAMS = {"baseline": baseline, "pack": pack, "prune": prune, "robustness": robustness}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a small subnetwork of random scores, its packed form, and a plain model."""
    folder = tmp_path_factory.mktemp("files")
    made = {"in_channels": 1, "classes": 10, "size": 8, "width": 0.25}
    plain = models.create("convnet", **made)
    models.save(plain, folder / "plain.safetensors", {"name": "plain", "protection": None})
    model = models.create("convnet", norm="batch_no_affine", last_norm=True, **made)
    sizes = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    found = Subnetwork(model.config, Recipe(0, [max(1, n // 10) for n in sizes]))
    found.save(folder / "subnetwork.safetensors")
    found.pack().save(folder / "network.packed")
    return folder


def run(program, out, **given):
    """Run a program with its declared defaults, values checked as the command line checks them."""
    from holdfast.hub.values import coerce, complete

    declared = repository.find(f"program:{program}").meta.inputs
    given = coerce(declared, given, f"program:{program}")
    values = complete(declared, given, f"program:{program}", out)
    for key, value in values.items():
        if declared[key].type == "path" and value is not None:
            values[key] = out / value
    PROGRAMS[program].run(out, **values)


PRUNE = {"model": "convnet", "data": "digits", "limit": 60, "epochs": 1, "options": {"width": 0.25}}


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"prune_rate": 1}, 2, r"prune rate: expected a number in \[0, 1\), got 1"),
        ({"prune_rate": -0.1}, 2, "prune rate"),
        ({"prune_rate": "99%"}, 2, "prune_rate"),
        ({"prune_rate": 0.9999}, 2, "at least 1 weight in each of 5 layers"),
        ({"p": "-1"}, 2, "p: expected a finite number >= 0"),
        ({"p": "nan"}, 2, "p: expected a finite number >= 0"),
        ({"p": "fast"}, 2, "p: expected a number >= 0, global, or auto"),
        ({"eps": 8}, 2, "check the unit"),
        ({"eps": -0.1}, 2, "eps"),
        ({"eps": 0.1, "eps_gev": 1.0}, 2, "one of eps, eps_gev"),
        ({"eps_gev": 1.0}, 2, "unit"),
        ({"init": "kaiming_normal"}, 2, "one of binary, kaiming_constant"),
        ({"attack": "gremlin"}, 3, "unknown objective"),
        ({"attack_options": {"colour": 1}}, 2, "colour"),
        ({"training": {"colour": 1}}, 2, "colour"),
        ({"options": {"classes": 3}}, 2, "options"),
        ({"model": "convnest"}, 3, "did you mean 'convnet'"),
        ({"data": "mnost"}, 3, "mnost"),
        ({"lr": 0}, 2, "lr"),
    ],
    ids=str,
)
def test_prune(tmp_path, given, code, message):
    with pytest.raises(HoldfastError, match=message) as caught:
        run("prune", tmp_path, **{**PRUNE, **given})
    assert caught.value.exit_code == code
    assert not (tmp_path / "records.jsonl").exists()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"method": "magic"}, 2, "one of at, hydra, atmc"),
        ({"weights": "ternary"}, 2, "one of float, binary"),
        ({"method": "hydra", "prune_rate": 1}, 2, "prune rate"),
        ({"eps": 8}, 2, "check the unit"),
    ],
    ids=str,
)
def test_baseline(tmp_path, given, code, message):
    with pytest.raises(HoldfastError, match=message) as caught:
        run("baseline", tmp_path, **{"method": "at", **PRUNE, **given})
    assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"eps": 8}, 2, "check the unit"),
        ({"eps": "8/255"}, 2, "eps"),
        ({"eps_gev": 1.0}, 2, "unit"),
        ({"images": 280}, 2, "at least 280, got 279"),
        ({"images": 0}, 2, "from 1 on"),
        ({"attack": "bit_flips"}, 2, "one of autoattack, pgd, fgsm"),
        ({"options": {"attacks": ["gremlin"]}}, 2, "of apgd-ce"),
        ({"options": {"steps": 3}}, 2, "steps"),
        ({"attack": "pgd", "options": {"steps": 0}}, 2, "steps and restarts >= 1"),
        ({"data": "mnost"}, 3, "mnost"),
    ],
    ids=str,
)
def test_robustness(files, tmp_path, given, code, message):
    with pytest.raises(HoldfastError, match=message) as caught:
        run("robustness", tmp_path, **{"model": files / "network.packed", "data": "digits", **given})
    assert caught.value.exit_code == code
    assert not (tmp_path / "records.jsonl").exists()


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)


def emptied(path):
    path.write_bytes(b"")


def changed(change):
    """Rewrite the tensors of a file under the same header."""

    def rewrite(path):
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata=json.loads(raw[8 : 8 + length])["__metadata__"])

    return rewrite


def without(tensors):
    del tensors["classifier.scores"]


def with_more(tensors):
    tensors["last_norm.gamma"] = torch.ones(10)


def of_another_shape(tensors):
    tensors["classifier.scores"] = tensors["classifier.scores"][:, :3].contiguous()


def too_much_of_the_mask(path):
    """A mask that keeps another number of weights than the layer has."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])["__metadata__"]
    text = json.loads(header["holdfast.subnetwork/1"])
    text["recipe"]["counts"][-1] = 10**6
    save_file(load_file(path), path, metadata={"holdfast.subnetwork/1": json.dumps(text)})


def no_weights_kept(path):
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])["__metadata__"]
    text = json.loads(header["holdfast.subnetwork/1"])
    text["recipe"]["counts"][0] = 0
    save_file(load_file(path), path, metadata={"holdfast.subnetwork/1": json.dumps(text)})


DAMAGE = {
    "truncated": truncated,
    "empty": emptied,
    "an entry missing": changed(without),
    "an entry too many": changed(with_more),
    "an entry of another shape": changed(of_another_shape),
    "a mask larger than its layer": too_much_of_the_mask,
    "a layer that keeps nothing": no_weights_kept,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_subnetwork_that_is_none(files, tmp_path, damage):
    path = tmp_path / "subnetwork.safetensors"
    shutil.copy(files / "subnetwork.safetensors", path)
    DAMAGE[damage](path)
    for program, given in (("pack", {"subnetwork": path}), ("robustness", {"model": path, "data": "digits"})):
        with pytest.raises(DataError) as caught:
            run(program, tmp_path, **given)
        assert caught.value.exit_code == 4
        assert "subnetwork.safetensors" in str(caught.value)


@pytest.mark.parametrize("damage", [truncated, flipped, emptied], ids=lambda damage: damage.__name__)
def test_a_packed_network_that_is_damaged(files, tmp_path, damage):
    path = tmp_path / "network.packed"
    shutil.copy(files / "network.packed", path)
    damage(path)
    with pytest.raises(DataError, match=r"network\.packed") as caught:
        run("robustness", tmp_path, model=path, data="digits")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", ["plain.safetensors", "network.packed"])
def test_only_a_subnetwork_can_be_packed(files, tmp_path, name):
    with pytest.raises(DataError, match="subnetwork") as caught:
        run("pack", tmp_path, subnetwork=files / name)
    assert caught.value.exit_code == 4


def test_other_images_than_the_model_was_made_for(files, tmp_path):
    model = models.create("convnet", in_channels=3, classes=10, size=16, width=0.25)
    models.save(model, tmp_path / "other.safetensors", {"name": "other", "protection": None})
    with pytest.raises(UsageError, match="images of 3 channels and 16×16 pixels") as caught:
        run("robustness", tmp_path, model=tmp_path / "other.safetensors", data="digits")
    assert caught.value.exit_code == 2


def test_the_command_line_ends_with_that_code(make_runner):
    runner = make_runner()
    words = runner.command("prune", "convnet", "--data", "digits", "--prune-rate", "1.5", "--limit", "60")
    done = subprocess.run(words, cwd=runner.folder, env=runner.environment, capture_output=True, text=True)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "prune rate: expected a number in [0, 1), got 1.5" in last
    assert "Traceback" not in done.stderr

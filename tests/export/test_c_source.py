"""The exported C computes what the network computes, and needs nothing to do so."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from export_support import CC, STRICT, allowed, build, compiled, logits, needs_cc, packed, run
from torch import Tensor

from holdfast.core.errors import StorageError, UsageError
from holdfast.export import export_c
from holdfast.subnet import Packed, golomb, load_packed, without_dead_channels

NETWORKS: dict[str, dict[str, object]] = {
    "convnet": {},
    "convnet with affine norms": {"norm": "batch", "last_norm": False, "scale": 0.25},
    "convnet without norms": {
        "norm": "none",
        "strides": [2, 2, 2, 2],
        "mean": [0.5, 0.1],
        "std": [0.25, 2.0],
    },
    "convnet of one pixel": {"size": 1},
    "cnn": {"seed": None},
    "cnn of odd size": {"size": 13, "width": 0.5, "input_norm": False, "compress": "none"},
    "resnet20": {"width": 0.25, "in_channels": 3},
    "resnet18": {"width": 0.0625, "stem": "cifar"},
    "resnet34": {"width": 0.03125},
    "vgg11": {"size": 32, "width": 0.03125},
    "mobilenetv2": {"width": 0.125, "stem": "cifar", "prune_rate": 0.5},
    "resnet50": {"width": 0.0625, "stem": "cifar"},
    "alexnet": {"size": 63, "width": 0.1, "norm": "batch_no_affine"},
}
SLOW = ("mobilenetv2", "resnet50", "alexnet", "resnet34")
COMPACT = ("convnet", "convnet with affine norms", "convnet of one pixel", "cnn", "mobilenetv2", "alexnet")
CASES = [
    pytest.param(what, flash, marks=pytest.mark.slow if what in SLOW else ())
    for what in NETWORKS
    for flash in ("fast", "compact")
    if flash == "fast" or what in COMPACT
]


def network(what: str) -> Packed:
    return packed(what.split()[0], **NETWORKS[what])  # type: ignore[arg-type]


def images_for(network: Packed) -> Tensor:
    config = network.config
    images = torch.rand(6, config.in_channels, config.size, config.size)
    images[0] = 0
    images[1] = 1
    images[2] *= 1000
    images[3] -= 0.5
    images[5] = images[2]
    return images


@needs_cc
@pytest.mark.parametrize(("what", "flash"), CASES)
def test_the_program_computes_what_the_module_computes(what: str, flash: str, tmp_path: Path) -> None:
    subnetwork = network(what)
    program = build(subnetwork, tmp_path, flash=flash)
    run(program)
    images = images_for(subnetwork)
    with torch.no_grad():
        expected = subnetwork.to_module().double()(images.double())
    found = logits(program, images)
    assert ((found - expected).abs().amax(1) <= allowed(expected)).all()
    # What is left in the arena does not matter.
    assert torch.equal(found[5], found[2])
    assert expected.std(0).min() > 1e-3


@needs_cc
def test_what_is_not_finite_spreads_as_in_the_module_where_no_weight_is_left_out(tmp_path: Path) -> None:
    dense = packed("vgg11", size=32, width=0.03, prune_rate=0.0)
    images = torch.rand(3, 2, 32, 32)
    images[1, 0, 16, 16] = float("nan")
    images[2, 1, 5, 5] = float("inf")
    with torch.no_grad():
        expected = dense.to_module()(images)
    found = logits(build(dense, tmp_path), images)
    assert torch.equal(found.isnan(), expected.isnan())
    assert expected.isnan().any(1).tolist() == [False, True, True]


@needs_cc
@pytest.mark.parametrize("flash", ["fast", "compact"])
def test_channels_may_have_been_taken_out(flash: str, tmp_path: Path) -> None:
    whole = packed("resnet20", width=0.25, prune_rate=0.97)
    narrow = without_dead_channels(whole)
    assert any(layer.rows is not None for layer in narrow.layers)
    images = images_for(whole)
    with torch.no_grad():
        expected = whole.to_module().double()(images.double())
    found = logits(build(narrow, tmp_path, flash=flash), images)
    assert ((found - expected).abs().amax(1) <= allowed(expected)).all()


@needs_cc
@pytest.mark.parametrize("flash", ["fast", "compact"])
def test_no_sanitizer_finds_anything(flash: str, tmp_path: Path) -> None:
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }")
    try:
        run(CC, *flags, "-o", tmp_path / "empty", tmp_path / "empty.c")
    except AssertionError:
        pytest.skip("the compiler has no sanitizers")
    subnetwork = network("cnn" if flash == "fast" else "convnet")
    program = build(subnetwork, tmp_path, *flags, flash=flash)
    run(program)
    images = images_for(subnetwork)
    images[0, 0, 0, 0] = float("nan")
    images[1, 0, 0, 0] = float("inf")
    assert len(logits(program, images)) == 6


@needs_cc
@pytest.mark.parametrize("flash", ["fast", "compact"])
def test_the_object_needs_nothing_and_keeps_nothing(flash: str, tmp_path: Path) -> None:
    nm, objdump = shutil.which("nm"), shutil.which("objdump")
    if nm is None or objdump is None:
        pytest.skip("needs nm and objdump of binutils")
    exported = export_c(network("cnn"), tmp_path, flash=flash)  # type: ignore[arg-type]
    object_ = tmp_path / "object.o"
    run(CC, *STRICT, "-O2", "-ffreestanding", "-fno-pie", "-fno-inline", "-c", "-o", object_, exported.source)
    symbols = [line.split()[-2:] for line in run(nm, object_).splitlines()]
    assert {name for kind, name in symbols if kind == "U"} <= {"memset", "memcpy", "memmove"}
    assert {name for kind, name in symbols if kind.isupper() and kind != "U"} == {"cnn_run"}
    assert not [name for kind, name in symbols if kind in "bBdDC"], "state that calls would share"
    for function in ("add", "subtract"):
        code = run(objdump, "-d", f"--disassemble={function}", object_)
        assert re.search(rf"<{function}>:\n.*ret", code, flags=re.DOTALL)
        assert "mul" not in code
        assert "fm" not in code


@pytest.mark.parametrize("flash", ["fast", "compact"])
def test_convolutions_multiply_no_float(flash: str, tmp_path: Path) -> None:
    text = export_c(network("convnet"), tmp_path, flash=flash).source.read_text()  # type: ignore[arg-type]
    for function in ("add", "subtract", "sums"):
        body = re.search(rf"^static void {function}\(.*?^}}", text, flags=re.DOTALL | re.MULTILINE)
        assert body is not None
        assert "scale" not in body[0]
        if function != "sums":  # its products are those of places
            assert not re.search(r"[\w\])]\s*\*\s*[\w(]", body[0].split("{", 1)[1].replace("float *at", ""))


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    subnetwork = network("resnet20")
    subnetwork.save(tmp_path / "a.packed")
    first = export_c(subnetwork, tmp_path / "a")
    second = export_c(load_packed(tmp_path / "a.packed"), tmp_path / "b")
    for path in (first.source, first.header, first.check):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        assert str(tmp_path) not in path.read_text()
    assert first.arena_bytes == second.arena_bytes


def test_compact_tables_are_about_the_packed_file(tmp_path: Path) -> None:
    subnetwork = packed("convnet", in_channels=1, classes=10, size=8, prune_rate=0.99)
    fast, compact = (export_c(subnetwork, tmp_path / flash, flash=flash) for flash in ("fast", "compact"))  # type: ignore[arg-type]
    assert compact.table_bytes < fast.table_bytes
    stored = sum(4 * layer.mask.shape[0] for layer in subnetwork.layers)
    codes = sum(len(golomb.encode(layer.mask.reshape(-1))[0]) for layer in subnetwork.layers)
    assert compact.table_bytes <= codes + stored
    assert (compact.additions, compact.arena_bytes) == (fast.additions, fast.arena_bytes)


def test_the_header_states_the_shapes_and_the_memory(tmp_path: Path) -> None:
    exported = export_c(network("convnet"), tmp_path, name="Détecteur 1/2")
    header = exported.header.read_text()
    assert exported.name == "d_tecteur_1_2"
    assert exported.header.name == "d_tecteur_1_2.h"
    defined = dict(re.findall(r"^#define D_TECTEUR_1_2_(\w+) (\d+)$", header, flags=re.MULTILINE))
    assert defined == {
        "CHANNELS": "2",
        "HEIGHT": "12",
        "WIDTH": "12",
        "INPUTS": "288",
        "CLASSES": "3",
        "ARENA_FLOATS": str(exported.arena_bytes // 4),
    }
    assert f"{exported.table_bytes} bytes of tables" in header
    assert f"{exported.multiplications} multiplications" in header


@needs_cc
def test_a_name_that_c_reserves_is_still_a_name(tmp_path: Path) -> None:
    exported = export_c(network("convnet of one pixel"), tmp_path, name="8 int")
    run(compiled(exported, "-O0"))
    assert exported.header.name == "n8_int.h"
    if shutil.which("g++"):
        run("g++", "-std=c++98", "-Wall", "-Werror", "-fsyntax-only", "-x", "c++", exported.header)


@needs_cc
def test_other_compilers_take_it_too(tmp_path: Path) -> None:
    others = [path for path in map(shutil.which, ("clang", "tcc")) if path is not None]
    if not others:
        pytest.skip("no other C compiler here: clang, tcc")
    for other in others:
        run(build(network("cnn"), tmp_path, compiler=other))


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="letters"):
        export_c(network("convnet"), tmp_path, name="-–")
    with pytest.raises(UsageError, match="not 'check'"):
        export_c(network("convnet"), tmp_path, name="Check")
    with pytest.raises(UsageError, match="fast or compact"):
        export_c(network("convnet"), tmp_path, flash="tiny")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        export_c(network("convnet"), tmp_path / "file")

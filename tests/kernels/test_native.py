"""Which backend is chosen, and what is said about it. Fresh processes, since the choice is made once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from holdfast import kernels
from holdfast.kernels import native

ABSENT = "import sys; sys.modules['holdfast._native'] = None\n"
SHOW = "from holdfast import kernels; print(kernels.backend())"


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("isa", native.variants())
def test_isa_is_chosen_by_name(isa: str) -> None:
    assert _python(SHOW, HOLDFAST_ISA=isa).stdout.strip() == f"native-{isa}"


@pytest.mark.skipif(not native.variants(), reason="the native core is not built")
def test_unknown_isa_is_an_error_that_lists_the_known() -> None:
    result = _python(SHOW, HOLDFAST_ISA="mmx")
    assert result.returncode != 0
    assert (
        f"UsageError: HOLDFAST_ISA: expected one of {', '.join(native.variants())}"
        in result.stderr.replace("holdfast.core.errors.", "")
    )
    shown = _python("from holdfast import kernels; print(kernels.status()['detail'])", HOLDFAST_ISA="mmx")
    assert "got 'mmx'" in shown.stdout


def test_without_core_the_reference_computes() -> None:
    code = ABSENT + (
        "import torch, holdfast\n"
        "layer = torch.nn.Conv2d(3, 4, 3, padding=1)\n"
        "protected = holdfast.protect(layer)\n"
        "x = torch.rand(2, 3, 8, 8)\n"
        "assert torch.equal(protected(x), layer(x))\n"
    )
    result = _python(code + SHOW)
    assert (result.stdout.strip(), result.stderr) == ("reference", "")
    shown = _python(ABSENT + "from holdfast import kernels; print(kernels.status())")
    assert "'available': False" in shown.stdout
    assert "C++17 compiler" in shown.stdout


def test_required_core_that_is_absent_is_an_error() -> None:
    result = _python(ABSENT + SHOW, HOLDFAST_REQUIRE_NATIVE="1")
    assert "NativeCoreError: native core: expected a loadable one" in result.stderr
    assert _python(ABSENT + SHOW, HOLDFAST_REQUIRE_NATIVE="0").stdout.strip() == "reference"


def test_status_loads_no_torch() -> None:
    code = "import sys; from holdfast import kernels; kernels.status(); print('torch' in sys.modules)"
    assert _python(code).stdout.strip() == "False"


def test_required_core_is_present_here() -> None:
    if not native.required():
        pytest.skip("HOLDFAST_REQUIRE_NATIVE is not set")
    assert kernels.status()["available"]

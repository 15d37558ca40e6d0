"""Every shipped plugin reads what the real tool says, or what its files hold."""

from pathlib import Path

import pytest
from detection_support import distribution, interpreter, says
from packaging.version import Version

import holdfast
from holdfast.hub import detection
from holdfast.hub.component import load

SHIPPED = Path(holdfast.__file__).parent / "components" / "soft"
ISSUE = (
    "python python-package gcc gxx clang cmake ninja nvcc cuda-driver cudnn rocm pytorch onnxruntime "
    "tensorflow jax onednn openblas mkl openmp java node rust go docker git cmssw root geant4 postgresql "
    "dask slurm"
)

# Plugin, the name of the binary, what the real one prints (abridged after the version), and the version.
COMMANDS = [
    ("gcc", "gcc-12", "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free Software", "12.2.0"),
    ("gcc", "gcc", "gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-22)\nCopyright (C) 2018", "8.5.0"),
    ("gcc", "gcc", "gcc (Ubuntu 9.4.0-1ubuntu1~20.04.2) 9.4.0", "9.4.0"),
    ("gxx", "g++", "g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free Software", "12.2.0"),
    (
        "clang",
        "clang-14",
        "Ubuntu clang version 14.0.0-1ubuntu1.1\nTarget: x86_64-pc-linux-gnu\nThread model: posix",
        "14.0.0",
    ),
    (
        "clang",
        "clang",
        "Ubuntu clang version 13.0.1-++20220120110924+75e33f71c2da-1~exp1~20220120231001.58\n"
        "Target: x86_64-pc-linux-gnu\nThread model: posix\nInstalledDir: /usr/lib/llvm-13/bin",
        "13.0.1",
    ),
    ("clang", "clang", "Apple clang version 15.0.0 (clang-1500.3.9.4)\nTarget: arm64-apple-darwin", "15.0.0"),
    ("cmake", "cmake", "cmake version 3.25.1\n\nCMake suite maintained and supported by Kitware", "3.25.1"),
    ("cmake", "cmake", "cmake version 3.29.0-rc1\n\nCMake suite maintained", "3.29.0rc1"),
    ("ninja", "ninja", "1.11.1", "1.11.1"),
    ("ninja", "ninja", "1.11.1.git.kitware.jobserver-1", "1.11.1"),
    (
        "nvcc",
        "nvcc",
        "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2025 NVIDIA Corporation\n"
        "Built on Wed_Aug_20_01:58:59_PM_PDT_2025\nCuda compilation tools, release 13.0, V13.0.88\n"
        "Build cuda_13.0.r13.0/compiler.36424714_0",
        "13.0.88",
    ),
    ("nvcc", "nvcc", "nvcc: NVIDIA (R)\nCuda compilation tools, release 8.0, V8.0.44", "8.0.44"),
    ("cuda-driver", "nvidia-smi", "535.129.03\n535.129.03", "535.129.3"),
    ("openmp", "gcc", "#define __DBL_MIN_EXP__ (-1021)\n#define _OPENMP 201511\n#define __pic__ 2", "4.5"),
    ("openmp", "clang", "#define _LP64 1\n#define _OPENMP 202011", "5.1"),
    (
        "java",
        "java",
        'openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)',
        "17.0.15",
    ),
    ("java", "java", 'java version "1.8.0_402"\nJava(TM) SE Runtime Environment', "1.8.0.402"),
    ("node", "node", "v20.20.2", "20.20.2"),
    ("rust", "rustc", "rustc 1.95.0 (59807616e 2026-04-14)", "1.95.0"),
    ("rust", "rustc", "rustc 1.85.0-beta.2 (ae4de0d5a 2025-01-01)", "1.85.0b2"),
    ("go", "go", "go version go1.22.1 linux/amd64", "1.22.1"),
    ("go", "go", "go version go1.23rc1 linux/amd64", "1.23rc1"),
    ("docker", "docker", "Docker version 28.2.2, build e6534b4", "28.2.2"),
    ("git", "git", "git version 2.39.5", "2.39.5"),
    ("git", "git", "git version 2.39.3 (Apple Git-145)", "2.39.3"),
    ("root", "root-config", "6.30/04", "6.30.4"),
    ("root", "root-config", "6.32.02", "6.32.2"),
    ("geant4", "geant4-config", "11.2.1", "11.2.1"),
    ("postgresql", "postgres", "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
    ("postgresql", "postgres", "postgres (PostgreSQL) 17beta1", "17b1"),
    ("slurm", "sbatch", "slurm 23.11.4", "23.11.4"),
    ("slurm", "sbatch", "slurm-wlm 21.08.5", "21.8.5"),
]

CUDNN = """#ifndef CUDNN_VERSION_H_
#define CUDNN_VERSION_H_
#define CUDNN_MAJOR 8
#define CUDNN_MINOR 8
#define CUDNN_PATCHLEVEL 1
#define CUDNN_VERSION (CUDNN_MAJOR * 1000 + CUDNN_MINOR * 100 + CUDNN_PATCHLEVEL)
"""
ROCM = "#define ROCM_VERSION_MAJOR   5\n#define ROCM_VERSION_MINOR   7\n#define ROCM_VERSION_PATCH   1\n"
ONEDNN = """/// Major version
#define DNNL_VERSION_MAJOR 3

/// Minor version
#define DNNL_VERSION_MINOR 5

/// Patch version
#define DNNL_VERSION_PATCH 0
"""
MKL_2022 = """#define __INTEL_MKL_BUILD_DATE 20220311


#define __INTEL_MKL__          2022

#define __INTEL_MKL_MINOR__    0
#define __INTEL_MKL_UPDATE__   1
"""
MKL_2018 = """#define __INTEL_MKL_BUILD_DATE 20171007

#define __INTEL_MKL__ 2018
#define __INTEL_MKL_MINOR__ 0
#define __INTEL_MKL_UPDATE__ 1
"""
PC = """libdir=/usr/lib/x86_64-linux-gnu/openblas-pthread/
includedir=/usr/include/x86_64-linux-gnu/openblas-pthread/
Name: openblas
Description: OpenBLAS is an optimized BLAS library based on GotoBLAS2 1.13 BSD version
Version: 0.3.21
URL: https://github.com/xianyi/OpenBLAS
"""
LIBRARY = (
    "\x7fELF\0\0OpenBLAS : munmap failed:\0OpenBLAS 0.3.30 DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64\0"
)

# Plugin, the variable that names its folder, the file there and its content, and the version.
FILES = [
    ("cudnn", "CUDNN_PATH", "include/cudnn_version.h", CUDNN, "8.8.1"),
    ("cudnn", "CUDNN_PATH", "include/x86_64-linux-gnu/cudnn_version_v8.h", CUDNN, "8.8.1"),
    ("cudnn", "CUDNN_PATH", "lib64/libcudnn.so.8.9.7", "\x7fELF", "8.9.7"),
    ("rocm", "ROCM_PATH", ".info/version", "6.0.2-115\n", "6.0.2"),
    ("rocm", "ROCM_PATH", ".info/version", "7.14.0", "7.14.0"),
    ("rocm", "ROCM_PATH", "include/rocm-core/rocm_version.h", ROCM, "5.7.1"),
    ("onednn", "DNNLROOT", "include/oneapi/dnnl/dnnl_version.h", ONEDNN, "3.5.0"),
    ("onednn", "DNNLROOT", "lib/libdnnl.so.3.4", "\x7fELF", "3.4"),
    ("openblas", "OPENBLAS_HOME", "lib/pkgconfig/openblas.pc", PC, "0.3.21"),
    ("openblas", "OPENBLAS_HOME", "lib/libopenblasp-r0.3.21.so", "\x7fELF", "0.3.21"),
    ("openblas", "OPENBLAS_HOME", "lib/libopenblas.so.0", LIBRARY, "0.3.30"),
    ("mkl", "MKLROOT", "include/mkl_version.h", MKL_2022, "2022.0.1"),
    ("mkl", "MKLROOT", "include/mkl_version.h", MKL_2018, "2018.0.1"),
]
RELEASES = [
    ("CMSSW_14_0_1", "14.0.1"),
    ("CMSSW_14_1_0_pre3", "14.1.0rc3"),
    ("CMSSW_10_6_8_patch1", "10.6.8.post1"),
    ("CMSSW_14_2_0_ROOT632", "14.2.0+root632"),
]
DISTRIBUTIONS = [
    ("numpy", "numpy", "2.4.6"),
    ("pytorch", "torch", "2.13.0+cpu"),
    ("onnxruntime", "onnxruntime", "1.31.1"),
    ("onnxruntime", "onnxruntime_gpu", "1.18.0"),
    ("tensorflow", "tensorflow", "2.16.1"),
    ("tensorflow", "tensorflow_cpu", "2.15.0.post1"),
    ("jax", "jax", "0.4.26"),
    ("dask", "dask", "2026.8.0"),
    ("mkl", "mkl", "2024.0.0"),
    ("python-package", "pip", "23.2.1"),
]


def ids(rows):
    return [f"{row[0]}-{row[-1]}" for row in rows]


def found_in(outcome, folder):
    """What was found below ``folder``: plugins also look where the system has the real thing."""
    return [found for found in outcome.found if found.path.is_relative_to(folder)]


@pytest.mark.parametrize(("plugin", "binary", "output", "version"), COMMANDS, ids=ids(COMMANDS))
def test_what_the_tool_prints_is_read(machine, plugin, binary, output, version):
    path = says(machine.bin / binary, output)
    (found,) = found_in(detection.outcome(load(SHIPPED / plugin)), machine.root)
    assert (found.parsed, found.path) == (Version(version), path)


@pytest.mark.parametrize(("plugin", "variable", "file", "text", "version"), FILES, ids=ids(FILES))
def test_what_files_hold_is_read(machine, monkeypatch, plugin, variable, file, text, version):
    path = machine.root / "installed" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv(variable, str(machine.root / "installed"))
    (found,) = found_in(detection.outcome(load(SHIPPED / plugin), pythons=[]), machine.root)
    assert (found.version, found.path) == (version, path)


@pytest.mark.parametrize(("release", "version"), RELEASES)
def test_cmssw_releases_are_read_from_their_names(machine, monkeypatch, release, version):
    folder = machine.root / "el8_amd64_gcc12" / release
    folder.mkdir(parents=True)
    monkeypatch.setenv("CMSSW_RELEASE_BASE", str(folder))
    (found,) = detection.detect(load(SHIPPED / "cmssw"))
    assert found.parsed == Version(version)
    assert found.environment["CMSSW_RELEASE"] == str(found.path)


@pytest.mark.parametrize(("plugin", "name", "version"), DISTRIBUTIONS, ids=ids(DISTRIBUTIONS))
def test_distributions_are_found_in_any_interpreter(machine, plugin, name, version):
    record = distribution(machine.root / "site", name, version)
    python = interpreter(machine.root / "python", machine.root / "site")
    (found,) = found_in(detection.outcome(load(SHIPPED / plugin), pythons=[python]), machine.root)
    assert (found.version, found.path, found.real) == (version, python, record)


def test_a_package_is_named_by_the_input(machine):
    distribution(machine.root / "site", "scipy", "1.17.1")
    python = interpreter(machine.root / "python", machine.root / "site")
    plugin = load(SHIPPED / "python-package")
    (found,) = detection.detect(plugin, inputs={"distribution": "SciPy"}, pythons=[python])
    assert found.version == "1.17.1"
    assert detection.detect(plugin, inputs={"distribution": "nothing"}, pythons=[python]) == []


def test_python_is_the_interpreter_that_a_shim_starts(machine):
    real = says(machine.root / "versions/3.12.1/bin/python3.12", "")
    says(machine.bin / "python3", f"3.12.1 {real}")
    says(machine.bin / "python3.12", f"3.12.1 {real}")
    (found,) = found_in(detection.outcome(load(SHIPPED / "python")), machine.root)
    assert (found.version, found.path) == ("3.12.1", real)


def test_every_plugin_is_shipped_described_and_tested_here():
    shipped = {folder.name for folder in SHIPPED.iterdir()}
    tested = {row[0] for row in (*COMMANDS, *FILES, *DISTRIBUTIONS)} | {"cmssw", "python"}
    assert shipped == tested
    assert set(ISSUE.split()) <= shipped
    for name in shipped:
        meta = load(SHIPPED / name).meta
        assert meta.tags
        assert meta.example.startswith(f"holdfast detect soft:{name}")

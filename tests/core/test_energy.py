"""Energy counters: read, wrapped, and absent."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from holdfast.core.energy import Meter


def zone(root, name, label, microjoules, size=1_000_000):
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(label + "\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{size}\n")
    return folder


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_nothing_readable_is_nothing_and_not_zero(tmp_path):
    assert Meter(tmp_path / "none").joules() == {}
    (tmp_path / "intel-rapl:0").mkdir()
    assert Meter(tmp_path).sources == ()


def test_an_unreadable_counter_is_absent(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()  # reading a folder is refused to root as well
    assert Meter(tmp_path).sources == ()


def test_packages_and_memory_count_once_and_wrap(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)  # a part of the package
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 100_000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 3)  # the same by another way
    meter = Meter(tmp_path)
    assert set(meter.sources) == {"rapl:package-0", "rapl:dram@0"}
    (package / "energy_uj").write_text("950000")
    assert meter.joules()["rapl:package-0"] == pytest.approx(0.05)
    (package / "energy_uj").write_text("50000")  # past its range of 1 J
    (memory / "energy_uj").write_text("400000")
    assert meter.joules() == pytest.approx({"rapl:package-0": 0.15, "rapl:dram@0": 0.3})


def test_gpus_by_nvml_where_they_have_a_counter(tmp_path, monkeypatch):
    class NVMLError(Exception):
        pass

    millijoules = {0: 1000}

    def energy(handle):
        if handle not in millijoules:
            raise NVMLError("not supported")
        return millijoules[handle]

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    meter = Meter(tmp_path)
    assert meter.sources == ("nvml:0",)
    millijoules[0] = 3500
    assert meter.joules() == {"nvml:0": 2.5}


def test_without_a_driver_there_is_none(tmp_path, monkeypatch):
    class NVMLError(Exception):
        pass

    def fails():
        raise NVMLError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=NVMLError, nvmlInit=fails))
    assert Meter(tmp_path).joules() == {}

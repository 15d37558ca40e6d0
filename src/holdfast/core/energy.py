"""Energy by the machine's own counters: RAPL for processors, NVML for GPUs; absent where unreadable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
"""Linux's sysfs of RAPL; its counters are often readable by root alone."""


class Meter:
    """Counts the energy used since it was made, over whole processors and GPUs, other programs included.

    ``sources`` names what can be read: ``"rapl:package-0"``, ``"nvml:0"``; empty if nothing can.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters = {**_rapl(powercap), **_nvml()}
        self._last = {name: read() for name, (read, _) in self._counters.items()}
        self._joules = dict.fromkeys(self._counters, 0.0)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the counters."""
        return tuple(self._counters)

    def joules(self) -> dict[str, float]:
        """J by source since the meter was made. Ask at least once a minute: RAPL's counters wrap around."""
        for name, (read, size) in self._counters.items():
            now = read()
            used = now - self._last[name]
            self._joules[name] += used + size if used < 0 and size else used
            self._last[name] = now
        return dict(self._joules)


Counter = tuple[Callable[[], float], float]
"""Reads J; and the J at which it starts again from zero (0: never)."""


def _rapl(powercap: Path) -> dict[str, Counter]:
    """Packages, and what lies outside them; the zones inside a package are part of its energy."""
    found: dict[str, Counter] = {}
    for zone in sorted(powercap.glob("*-rapl*:*"), key=lambda path: ("mmio" in path.name, path.name)):
        with suppress(OSError, ValueError):
            name = (zone / "name").read_text().strip()
            if zone.name.count(":") > 1 and name != "dram":
                continue
            # The same zones may be offered twice, through memory and through registers.
            key = f"rapl:{name}" if zone.name.count(":") == 1 else f"rapl:{name}@{zone.name.split(':')[1]}"
            if key in found:
                continue
            read = _reader(zone / "energy_uj")
            read()
            found[key] = (read, int((zone / "max_energy_range_uj").read_text()) / 1e6)
    return found


def _reader(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text()) / 1e6


def _nvml() -> dict[str, Counter]:
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return {}
    found: dict[str, Counter] = {}
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # older devices have no such counter
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                read = _gpu(pynvml, handle)
                read()
                found[f"nvml:{index}"] = (read, 0.0)
    return found


def _gpu(pynvml: Any, handle: Any) -> Callable[[], float]:
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3

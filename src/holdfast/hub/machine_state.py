"""The state a machine is in while something is measured: what it cannot tell is absent, never zero."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

State = dict[str, str | int | float]

_CPU = Path("/sys/devices/system/cpu")
_THERMAL = Path("/sys/class/thermal")


def machine_state(cpu: Path = _CPU, thermal: Path = _THERMAL) -> State:
    """Load, clock frequency, governor, temperature, throttling and free memory, as far as readable.

    Keys: ``time`` (UTC); ``load_1m``, ``load_5m`` (runnable processes); ``frequency_mhz_lowest`` and
    ``_highest`` over the cores; ``governor`` (several: joined by commas); ``turbo`` ("on" or "off");
    ``temperature_c`` (the hottest zone); ``throttled`` (times any core was slowed by heat since boot);
    ``memory_free_bytes``; ``swap_used_bytes``. The folders are those of Linux's sysfs.
    """
    found: State = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
    with suppress(OSError, AttributeError):
        found["load_1m"], found["load_5m"] = (round(load, 2) for load in os.getloadavg()[:2])
    speeds = _numbers(cpu.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    if speeds:
        found["frequency_mhz_lowest"] = min(speeds) / 1e3
        found["frequency_mhz_highest"] = max(speeds) / 1e3
    governors = {_text(path) for path in cpu.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    if governors:
        found["governor"] = ",".join(sorted(governors))
    for path, on in ((cpu / "intel_pstate/no_turbo", "0"), (cpu / "cpufreq/boost", "1")):
        if text := _text(path):
            found["turbo"] = "on" if text == on else "off"
            break
    heat = [value for value in _numbers(thermal.glob("thermal_zone*/temp")) if value > 0]
    if heat:
        found["temperature_c"] = max(heat) / 1e3
    throttled = _numbers(cpu.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    if throttled:
        found["throttled"] = int(sum(throttled))
    return found | _memory()


def _memory() -> State:
    import psutil

    found: State = {}
    with suppress(OSError, RuntimeError):
        found["memory_free_bytes"] = psutil.virtual_memory().available
        found["swap_used_bytes"] = psutil.swap_memory().used
    return found


def _numbers(paths: Iterable[Path]) -> list[float]:
    found = []
    for path in paths:
        with suppress(ValueError):
            found.append(float(_text(path)))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""

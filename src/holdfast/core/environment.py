"""What a result was measured on: platform and software, found without importing the heavy packages."""

from __future__ import annotations

import os
import platform
import socket
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from holdfast import __version__

REPORTED_PACKAGES = ("torch", "numpy", "lightning-fabric", "h5py", "scikit-learn", "onnxruntime")


@cache
def software() -> dict[str, str]:
    """Versions of Python, of Holdfast and of the packages that influence numbers, as installed."""
    found = {"python": platform.python_version(), "holdfast": __version__}
    for name in REPORTED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, str | int]:
    """Operating system, architecture, processor model, cores available to this process, memory in bytes."""
    import psutil

    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"

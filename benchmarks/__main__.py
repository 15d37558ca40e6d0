"""Run all benchmarks: ``python -m benchmarks``, or those named: ``python -m benchmarks protect_overhead``."""

import runpy
import sys
from pathlib import Path

names = sys.argv[1:] or sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("_")
)
for name in names:
    print(f"== {name}")
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")

"""Benchmarks: each asserts correctness before it times, and writes records to ``benchmarks/records``."""

import os

# ONNX Runtime's official builds report to their maker unless told not to before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

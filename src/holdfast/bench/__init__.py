"""What is measured on a model: quality, calibration, latency, FLOPs, size."""

from holdfast.bench.calibration import (
    at_temperature,
    calibration_records,
    fit_temperature,
    reliability,
    temperature_interval,
)
from holdfast.bench.flops import count_flops, flops
from holdfast.bench.latency import latency, overhead
from holdfast.bench.memory import count_parameters, size, state_bytes
from holdfast.bench.metrics import Evaluation, evaluate, evaluate_stream, quality, quality_records
from holdfast.bench.tracing import save_trace

__all__ = [
    "Evaluation",
    "at_temperature",
    "calibration_records",
    "count_flops",
    "count_parameters",
    "evaluate",
    "evaluate_stream",
    "fit_temperature",
    "flops",
    "latency",
    "overhead",
    "quality",
    "quality_records",
    "reliability",
    "save_trace",
    "size",
    "state_bytes",
    "temperature_interval",
]

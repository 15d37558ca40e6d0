"""What is measured on a model: quality, latency, FLOPs, size."""

from holdfast.bench.flops import count_flops, flops
from holdfast.bench.latency import latency, overhead
from holdfast.bench.memory import count_parameters, size, state_bytes
from holdfast.bench.metrics import Evaluation, evaluate, quality, quality_records

__all__ = [
    "Evaluation",
    "count_flops",
    "count_parameters",
    "evaluate",
    "flops",
    "latency",
    "overhead",
    "quality",
    "quality_records",
    "size",
    "state_bytes",
]

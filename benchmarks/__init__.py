"""Benchmarks: each asserts correctness before it times, and writes records to ``benchmarks/records``."""

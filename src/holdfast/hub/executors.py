"""Executors by name: processes of this machine, Dask workers started here, or a Dask cluster that runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from holdfast.core import environment
from holdfast.core.errors import InfrastructureError, UsageError

NAMES = ("local", "dask", "dask:tcp://HOST:PORT", "slurm")
CONNECT_S = 10


@contextmanager
def executor(name: str, *, workers: int | None = None) -> Iterator[Executor]:
    """The executor that ``name`` means, shut down at the end of the block.

    ``local`` are ``workers`` processes (one a core), ``dask`` as many Dask workers on this machine, and
    ``dask:tcp://HOST:PORT`` the workers of the cluster with that scheduler, however they were started (by
    Slurm, for instance); they need this version of Holdfast, and for workflows this home folder. What a lost
    Dask worker was at is done by another. Raises UsageError for an unknown name, a missing package, or
    ``slurm``; InfrastructureError for a scheduler that does not answer.
    """
    check(name)
    count = workers or environment.cores()
    if name == "local":
        # Forked copies of a process that uses OpenMP threads may hang.
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            yield pool
        return
    distributed = _distributed()
    with _cluster(distributed, name, count) as client:
        # Tasks have effects: equal ones are not the same one.
        pool = client.get_executor(pure=False)
        try:
            yield pool
        finally:
            pool.shutdown(wait=False)


def check(name: str) -> None:
    """Raise UsageError unless ``name`` is that of an executor that there is."""
    if name == "slurm":
        raise UsageError(
            "executor 'slurm'",
            expected="a Dask cluster inside a Slurm job",
            got="none: Holdfast submits no jobs",
            remedy="start `dask scheduler` and `srun dask worker tcp://HOST:8786` in a job, "
            "then say --executor dask:tcp://HOST:8786 (docs/workflows.md)",
        )
    if name not in ("local", "dask") and not name.startswith(("dask:tcp://", "dask:tls://")):
        raise UsageError("executor", expected=f"one of {', '.join(NAMES)}", got=repr(name))


@contextmanager
def _cluster(distributed: Any, name: str, workers: int) -> Iterator[Any]:
    address = name.partition(":")[2]
    if address:
        try:
            client = distributed.Client(address, timeout=CONNECT_S)
        except (OSError, ValueError) as error:
            raise InfrastructureError(
                f"Dask scheduler {address}",
                expected=f"an answer within {CONNECT_S} s",
                got=str(error) or type(error).__name__,
                remedy="start `dask scheduler`, and look at host and port",
            ) from error
        with client:
            yield client
        return
    # One task a worker at a time: steps and trials use the cores themselves.
    with (
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            "executor", expected="Dask", got="not installed", remedy="pip install holdfast[cluster]"
        ) from error
    return distributed

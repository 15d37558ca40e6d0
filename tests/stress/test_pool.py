from __future__ import annotations

from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from stress_support import FLIPS, lines, make_dying, make_net, make_sleeper, rates, run, stable

from holdfast.core.errors import StepError, UsageError
from holdfast.stress import FGSM, BitFlips, Nothing
from holdfast.stress.worker import context

STRESSORS = [FLIPS, BitFlips(site="weight"), FGSM(eps=0.1), Nothing()]


class Inline(Executor):
    """Runs at once, and notes how many chunks were under way."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future:
        self.submitted += 1
        future: Future = Future()
        future.set_result(function(*args, **options))
        return future


def test_any_executor_gives_the_same_records(tmp_path: Path) -> None:
    truth = stable(run(tmp_path / "here", stressors=STRESSORS))
    inline = Inline()
    assert stable(run(tmp_path / "inline", stressors=STRESSORS, executor=inline, chunk=5)) == truth
    assert inline.submitted == 3 * 5 + 1
    with ThreadPoolExecutor(3) as threads:
        found = run(tmp_path / "threads", stressors=STRESSORS, executor=threads, chunk=3, in_flight=2)
    assert stable(found) == truth
    with ProcessPoolExecutor(2, mp_context=context()) as processes:
        found = run(tmp_path / "processes", stressors=STRESSORS, executor=processes, chunk=7)
        assert stable(found) == truth
        # a module travels to the workers as well as a factory does
        found = run(tmp_path / "module", make_net(), STRESSORS, executor=processes, chunk=7)
        assert stable(found) == truth


def test_few_chunks_are_under_way(tmp_path: Path) -> None:
    class Lazy(Executor):
        """Runs a future only when another would be too many."""

        def __init__(self) -> None:
            self.most, self.waiting = 0, []

        def submit(self, function: Any, /, *args: Any, **options: Any) -> Future:
            future: Future = Future()
            self.waiting.append((future, function, args))
            self.most = max(self.most, len(self.waiting))
            if len(self.waiting) == 3:
                for other, call, given in self.waiting:
                    other.set_result(call(*given))
                self.waiting.clear()
            return future

    lazy = Lazy()
    run(tmp_path, executor=lazy, chunk=2, in_flight=3)
    assert lazy.most == 3


def test_an_error_of_the_call_is_raised_through_an_executor(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(UsageError, match="conv9"):
        run(tmp_path, stressors=[BitFlips(layers=("conv9",))], executor=threads)


def test_a_model_that_cannot_travel_is_an_error(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises((AttributeError, TypeError), match=r"pickle|local"):
        run(tmp_path, lambda: make_net(), executor=threads)


def test_a_trial_that_kills_its_process_is_a_crash(tmp_path: Path) -> None:
    """Bit 30 of one channel makes a value huge, and Fragile dies of it; the others live."""
    flips = BitFlips(site="weight", bits=(30, 0, 1, 2, 3, 4, 5, 6), layers=("net.conv1",))
    with ProcessPoolExecutor(1, mp_context=context()) as pool:
        records = run(tmp_path, make_dying, [flips], trials=8, executor=pool, chunk=4, in_flight=1)
    by_outcome = Counter(line["outcome"] for line in lines(tmp_path))
    assert by_outcome["crash"] == 1
    assert sum(by_outcome.values()) == 8
    dead = next(line for line in lines(tmp_path) if line["outcome"] == "crash")
    assert dead["message"] == "the process died"
    assert rates(records)["crash_rate"] == 1 / 8


@pytest.mark.parametrize(
    "workers", [pytest.param(0, id="here"), pytest.param(1, id="pool", marks=pytest.mark.slow)]
)
def test_a_trial_that_never_ends_is_a_hang(tmp_path: Path, workers: int) -> None:
    """As above, but what is huge puts Sleeper to sleep; the others are what they are without a limit."""
    flips = BitFlips(site="weight", bits=(30, 0, 1, 2), layers=("net.conv1",))
    options: dict[str, Any] = {"trials": 4, "chunk": 4, "limit_s": 2.0}
    with ExitStack() as stack:
        if workers:
            pool = ProcessPoolExecutor(workers, mp_context=context())
            options |= {"executor": stack.enter_context(pool), "in_flight": 1}
        records = run(tmp_path, make_sleeper, [flips], **options)
    outcomes = {line["outcome"]: line for line in lines(tmp_path)}
    assert outcomes["hang"]["message"] == "no answer after 2 s"
    total = rates(records)
    assert total["hang_rate"] == 1 / 4
    assert total["crash_rate"] == 0
    assert total["masked_rate"] + total["sdc_rate"] == 3 / 4  # type: ignore[operator]


@pytest.mark.slow
def test_a_machine_on_which_everything_dies_is_blamed(tmp_path: Path) -> None:
    flips = BitFlips(site="weight", bits=(30,), layers=("net.conv1",))
    with ProcessPoolExecutor(1, mp_context=context()) as pool:
        with pytest.raises(StepError, match="deaths in a row"):
            run(tmp_path, make_dying, [flips], trials=16, executor=pool)


@pytest.mark.filterwarnings("default")
def test_dask_gives_the_same_records(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    truth = stable(run(tmp_path / "here", stressors=STRESSORS))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
        found = run(tmp_path / "dask", stressors=STRESSORS, executor=client.get_executor(), chunk=5)
    assert stable(found) == truth

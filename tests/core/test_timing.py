import time

import numpy as np
import pytest

from holdfast.core.timing import PairedTiming, time_ms, time_pairs


def test_calls_are_counted_and_timed_in_ms():
    calls = []
    times = time_ms(lambda: (calls.append(1), time.sleep(0.002)), 5, warmup=2)
    assert len(calls) == 7
    assert times.shape == (5,)
    assert (times >= 2).all()


def test_pairs_alternate():
    order = []
    timing = time_pairs(lambda: order.append("a"), lambda: order.append("b"), pairs=4, warmup=1)
    assert "".join(order) == "ab" * 5
    assert timing.a_ms.shape == timing.b_ms.shape == (4,)


def test_ratio_is_the_median_of_pairs_and_survives_drift():
    a = np.array([1.0, 10.0, 2.0, 50.0, 1.0])
    timing = PairedTiming(a, 1.5 * a)
    assert timing.ratio == pytest.approx(1.5)
    interval = timing.interval()
    assert (interval.low, interval.high) == pytest.approx((1.5, 1.5))

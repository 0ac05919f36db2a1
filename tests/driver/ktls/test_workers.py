"""Worker pools: order, errors, and their end."""

import threading
from collections import Counter
from time import monotonic

import pytest

from tlsnic.driver.ktls.workers import ScheduledPool, ThreadPool


class Job:
    def __init__(self, log, name, *, fail=None, then=None):
        self.log, self.name, self.fail, self.then = log, name, fail, then

    def run(self):
        self.log.append((self.name, "run", threading.current_thread().name))
        if self.fail == "run":
            raise RuntimeError(self.name)

    def finish(self):
        self.log.append((self.name, "finish", threading.current_thread().name))
        if self.fail == "finish":
            raise RuntimeError(self.name)
        if self.then:
            self.then()


POOLS = [
    lambda: ThreadPool(2),
    lambda: ThreadPool(3, spread=True),
    lambda: ScheduledPool(2),
    lambda: ScheduledPool(3, spread=True, seed=4),
]


@pytest.mark.parametrize("make", POOLS)
def test_everything_is_done(make):
    pool, log = make(), []
    for name in range(50):
        pool.submit(name, Job(log, name))
    pool.drain()
    assert pool.queued == 0
    assert Counter(step for _, step, _ in log) == {"run": 50, "finish": 50}
    assert {name for name, _, _ in log} == set(range(50))
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(0, Job(log, "late"))


@pytest.mark.parametrize("make", [POOLS[0], POOLS[2]])
def test_one_index_is_in_order(make):
    pool, log = make(), []
    for name in range(40):
        pool.submit(name % 3, Job(log, name))
    pool.drain()
    for worker in (0, 1):
        mine = [name for name, step, _ in log if step == "run" and name % 3 % 2 == worker]
        assert mine == sorted(mine)
    pool.close()


@pytest.mark.parametrize("make", POOLS)
@pytest.mark.parametrize("fail", ["run", "finish"])
def test_a_job_that_fails_is_remembered(make, fail):
    pool, log = make(), []
    pool.submit(0, Job(log, "bad", fail=fail))
    pool.submit(0, Job(log, "good"))
    pool.drain()
    assert [str(error) for error in pool.failures] == ["bad"]
    assert ("good", "finish") in [entry[:2] for entry in log]
    pool.close()


@pytest.mark.parametrize("make", POOLS)
def test_closing_finishes_what_is_queued(make):
    """Also jobs that a job queues."""
    pool, log = make(), []

    def again():
        pool.submit(0, Job(log, "second"))

    pool.submit(0, Job(log, "first", then=again))
    pool.close()
    assert [entry[:2] for entry in log][-1] == ("second", "finish")
    assert not pool.failures
    pool.close()


def test_threads_have_names_and_end():
    pool, log = ThreadPool(2), []
    others = set(threading.enumerate())
    pool.submit(0, Job(log, 0))
    pool.submit(1, Job(log, 1))
    pool.close()
    assert {name for _, _, name in log} == {"KTLS thr_0", "KTLS thr_1"}
    assert set(threading.enumerate()) <= others


def test_waiting_has_an_end():
    pool, gate = ThreadPool(1), threading.Event()

    class Stuck:
        def run(self):
            gate.wait()

        def finish(self):
            pass

    pool.submit(0, Stuck())
    begin = monotonic()
    with pytest.raises(TimeoutError, match="1 jobs"):
        pool.drain(0.02)
    assert monotonic() - begin < 5
    gate.set()
    pool.close()


def test_a_pool_has_workers():
    with pytest.raises(ValueError, match="0 threads"):
        ThreadPool(0)


def test_the_schedule_depends_on_the_seed_only():
    def order(seed):
        pool, log = ScheduledPool(3, spread=True, seed=seed), []
        for name in range(20):
            pool.submit(0, Job(log, name))
        pool.drain()
        return log

    assert order(1) == order(1)
    assert order(1) != order(2)

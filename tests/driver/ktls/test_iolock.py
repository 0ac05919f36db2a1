"""The lock of writers: re-entrant, and first come, first served."""

from threading import Event, Thread

import pytest

from tlsnic.driver.ktls.iolock import IoLock


def test_it_is_reentrant_and_belongs_to_a_thread():
    lock = IoLock()
    with lock, lock:
        refused = []
        thread = Thread(target=lambda: refused.append(lock.acquire(blocking=False)))
        thread.start()
        thread.join()
        assert refused == [False]
    with pytest.raises(RuntimeError):
        lock.release()


def test_a_thread_that_takes_it_again_at_once_comes_after_those_that_wait():
    lock, order = IoLock(), []
    queued = [Event(), Event()]

    def other(number):
        queued[number].set()
        with lock:
            order.append(number)

    lock.acquire()
    threads = []
    for number in range(2):
        threads.append(Thread(target=other, args=(number,)))
        threads[-1].start()
        while len(lock._waiting) <= number:
            assert queued[number].wait(60)
    lock.release()
    with lock:
        order.append("again")
    for thread in threads:
        thread.join()
    assert order == [0, 1, "again"]
    assert lock.acquire(blocking=False)

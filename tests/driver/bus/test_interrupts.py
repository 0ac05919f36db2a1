"""Waiting for interrupts: counted, in time, and none taken from somebody else."""

import os
import time

import pytest

from tlsnic.driver.bus.interrupts import Interrupts, open_eventfds


@pytest.fixture
def make():
    opened = []

    def build(count, **options):
        fds = open_eventfds(count)
        opened.extend(fds)
        return Interrupts("msix", fds, **options)

    yield build
    for fd in opened:
        os.close(fd)


def fire(interrupts, vector, times=1):
    os.eventfd_write(interrupts.fds[vector], times)


def test_what_fired_before_is_counted_and_taken_once(make):
    interrupts = make(3)
    fire(interrupts, 0, 5)
    fire(interrupts, 2)
    assert interrupts.poll(0) == {0: 5, 2: 1}
    assert interrupts.poll(0) == {}


def test_a_subset_leaves_the_other_vectors_pending(make):
    interrupts = make(3)
    fire(interrupts, 0)
    fire(interrupts, 1)
    assert interrupts.poll(30, (1, 2)) == {1: 1}
    assert interrupts.wait(2, 0) == 0
    assert interrupts.drain() == {0: 1}


def test_a_wait_ends_at_its_deadline(make):
    interrupts = make(1)
    begin = time.monotonic()
    assert interrupts.poll(0.02) == {}
    assert time.monotonic() - begin >= 0.02


def test_a_masked_vector_stays_pending_until_it_is_unmasked(make):
    interrupts = make(2)
    interrupts.mask(1)
    fire(interrupts, 1, 2)
    fire(interrupts, 0)
    assert interrupts.poll(30) == {0: 1}
    assert interrupts.wait(1, 0) == 0
    interrupts.unmask(1)
    assert interrupts.poll(30) == {1: 2}


@pytest.mark.parametrize("vector", [-1, 2])
def test_a_vector_that_is_not_enabled_is_an_error(make, vector):
    interrupts = make(2)
    for call in (lambda: interrupts.wait(vector, 0), lambda: interrupts.mask(vector)):
        with pytest.raises(IndexError, match="not one of the 2 enabled"):
            call()


def test_an_event_that_another_reader_took_does_not_end_the_wait(make):
    interrupts = make(1, read_count=lambda fd: os.eventfd_read(fd) and 0)
    fire(interrupts, 0)
    begin = time.monotonic()
    assert interrupts.poll(0.02) == {}
    assert time.monotonic() - begin >= 0.02


def test_ack_goes_to_the_bus_and_needs_none_for_msix(make):
    acked = []
    make(1, acknowledge=acked.append).ack(0)
    make(1).ack(0)
    assert acked == [0]


def test_the_watched_descriptor_is_served_while_waiting(make):
    read_end, write_end = os.pipe()
    served = []

    def watch():
        served.append(os.read(read_end, 1))
        return True

    interrupts = make(1, watch_fd=read_end, watch=watch)
    os.write(write_end, b"a")
    assert interrupts.poll(0.01) == {}
    assert served == [b"a"]
    os.write(write_end, b"b")
    fire(interrupts, 0)
    assert interrupts.poll(30) == {0: 1}
    assert served == [b"a", b"b"]
    os.close(read_end)
    os.close(write_end)


def test_a_watch_that_ends_ends_the_wait_once(make):
    read_end, write_end = os.pipe()
    os.close(write_end)  # hung up from now on
    calls = []
    interrupts = make(1, watch_fd=read_end, watch=lambda: bool(calls.append(1)))
    begin = time.monotonic()
    assert interrupts.poll(30) == {}
    assert time.monotonic() - begin < 10
    fire(interrupts, 0)
    assert interrupts.poll(30) == {0: 1}
    assert calls == [1]
    os.close(read_end)


def test_close_is_done_once(make):
    closed = []
    interrupts = make(1, close=lambda: closed.append(1))
    interrupts.close()
    interrupts.close()
    assert closed == [1]
    assert interrupts.fds == ()
    assert interrupts.poll(0) == {}

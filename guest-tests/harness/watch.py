"""Diagnostics that a test expects, and what must hold when it is over: nothing lost, nothing left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tlsnic.abi.enums import Diagnostic, EventType, QueueState
from tlsnic.abi.structures import DiagnosticEvent
from tlsnic.driver.nic import Nic

_DRAIN_TIMEOUT_S = 20.0
_TX_DROPS = ("TX_DROP_LINK_DOWN", "TX_DROP_BAD_PACKET", "TX_DROP_DMA", "TX_DROP_TLS")
_RX_DROPS = (
    "RX_DROP_DISABLED",
    "RX_DROP_FILTER",
    "RX_DROP_RUNT",
    "RX_DROP_OVERSIZE",
    "RX_DROP_NO_BUFFER",
    "RX_DROP_DMA",
)


class Watch:
    """The card's diagnostics during one test. Any that was not expected fails it.

    They are taken from the event queue, and their number is held against DIAG_COUNT, so that none
    is missed. A test that resets the card calls `checkpoint` before and `start_again` after it.
    """

    def __init__(self, nic: Nic) -> None:
        self._nic = nic
        self._expected: Counter[Diagnostic] = Counter()
        self._allowed: set[Diagnostic] = set()
        self._seen: Counter[Diagnostic] = Counter()
        self._details: list[str] = []
        self._counted_before = 0

    def expect(self, code: Diagnostic, count: int = 1) -> None:
        """The test provokes `code`, exactly `count` times."""
        self._expected[code] += count

    def allow(self, code: Diagnostic) -> None:
        """The test may provoke `code`, any number of times: where timing decides."""
        self._allowed.add(code)

    def collect(self) -> None:
        """Take the diagnostics that have come so far."""
        events = self._nic.events
        events.drain()
        for event in list(events.events):
            if event[0] == EventType.DIAGNOSTIC:
                assert isinstance(event, DiagnosticEvent)
                events.events.remove(event)
                self._seen[Diagnostic(event.code)] += 1
                self._details.append(
                    f"{Diagnostic(event.code).name} kind {event.kind} queue {event.queue} "
                    f"operand {event.operand:#x}"
                )

    def checkpoint(self) -> None:
        """What came so far must be just what was expected. AssertionError otherwise."""
        self.collect()
        codes = (self._expected.keys() | self._seen.keys()) - self._allowed
        wrong = {
            code.name: (self._seen[code], self._expected[code])
            for code in codes
            if self._seen[code] != self._expected[code]
        }
        assert not wrong, f"diagnostics (seen, expected): {wrong}; all seen: {self._details}"
        counted = self._nic.diagnostics().raised - self._counted_before
        total = sum(self._seen.values())
        assert counted == total, f"DIAG_COUNT rose by {counted}, but {total} events came"

    def start_again(self) -> None:
        """The card was reset by the test, which has checked what DIAG_COUNT says then."""
        self._expected.clear()
        self._seen.clear()
        self._details.clear()
        self._counted_before = self._nic.diagnostics().raised


def check_balance(counters: Mapping[str, int]) -> None:
    """Every frame is counted once (reference, chapter Counters)."""
    sent, dropped = counters["TX_SENT_PACKETS"], sum(counters[name] for name in _TX_DROPS)
    assert counters["TX_PACKETS"] == sent + dropped, f"transmit does not balance: {counters}"
    taken, dropped = counters["RX_FRAMES"], sum(counters[name] for name in _RX_DROPS)
    assert counters["RX_WIRE_FRAMES"] == taken + dropped, f"receive does not balance: {counters}"
    joined = counters["RX_PACKETS"] + counters["RX_COALESCED"]
    assert counters["RX_FRAMES"] == joined, f"receive packets do not balance: {counters}"


def check_nothing_lost(nic: Nic) -> None:
    """Queues that run have no descriptor that neither side owns, and the counters balance."""
    nic.check()
    for tx in nic.tx:
        if tx.state == QueueState.RUNNING and tx.enabled:
            tx.drain(_DRAIN_TIMEOUT_S)
            status = tx.status()
            assert status.head == status.tail == tx.posted % tx.entries, f"{tx!r}: {status}"
            assert tx.pending == 0
            assert not tx.completions.ready()
            assert status.completion_producer == tx.completions.consumer, f"{tx!r}: {status}"
    for rx in nic.rx:
        if rx.state == QueueState.RUNNING and rx.enabled and rx.buffer_bytes:
            while rx.poll():
                pass
            status = rx.status()
            # The driver's own position: buffers that completions have told it of.
            assert status.head == rx._next % rx.entries, f"{rx!r}: {status}, driver at {rx._next}"
            assert status.completion_producer == rx.completions.consumer, f"{rx!r}: {status}"
    if nic.admin.state == QueueState.RUNNING:
        assert nic.admin.free == nic.admin.entries - 1, "a command was never answered"
        assert nic.admin.unknown_responses == 0
    check_balance(nic.counters())

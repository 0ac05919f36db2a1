"""The tail loss probe of RFC 8985, section 7: when to ask after the end of a flight.

When the last segments or their only acknowledgement are lost, nothing else comes that could tell
of it before the retransmission timer, some hundred round trips later. One segment more does.
"""

from __future__ import annotations

LEAST_NS = 10_000_000
"""Shortest wait, against jitter of the hosts; the first drafts of the RFC had it too."""
MAX_ACK_DELAY_NS = 40_000_000
"""What is added for one segment in flight, which may be acknowledged late (Linux: 40 ms)."""


class TailProbe:
    """`at_ns`: when the probe is due, or None. `end`: position behind a probe that is out."""

    __slots__ = ("at_ns", "due", "end", "is_retransmit")

    def __init__(self) -> None:
        self.at_ns: int | None = None
        self.due = False
        self.end: int | None = None
        self.is_retransmit = False

    def schedule(self, now_ns: int, srtt_ns: int, *, one_segment: bool, before_ns: int) -> None:
        """Something was sent or acknowledged; `before_ns`: when the retransmission timer fires."""
        self.due = False
        at_ns = now_ns + max(2 * srtt_ns, LEAST_NS) + one_segment * MAX_ACK_DELAY_NS
        self.at_ns = at_ns if at_ns < before_ns and self.end is None else None

    def cancel(self) -> None:
        """There is nothing to ask after, or recovery is under way."""
        self.at_ns = None
        self.due = False

    def forget(self) -> None:
        """The retransmission timer fired."""
        self.cancel()
        self.end = None

    def sent(self, end: int, *, is_retransmit: bool) -> None:
        """The probe went out."""
        self.cancel()
        self.end = end
        self.is_retransmit = is_retransmit

    def acknowledged(self, ack: int, *, duplicate: bool, plain: bool) -> bool:
        """Look at an ACK; whether the probe has repaired a loss (section 7.4.2).

        duplicate: a DSACK tells of it. plain: a duplicate ACK without SACK blocks.
        """
        if self.end is None or ack < self.end:
            return False
        repaired = self.is_retransmit and not duplicate and ack > self.end
        if repaired or duplicate or plain or not self.is_retransmit:
            self.end = None
        return repaired

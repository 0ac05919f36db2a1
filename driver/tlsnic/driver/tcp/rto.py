"""Round-trip time and retransmission time-out (RFC 6298). All times in nanoseconds."""

from __future__ import annotations

_SECOND = 10**9
INITIAL_RTO_NS = _SECOND
"""RFC 6298, section 2.1."""
AFTER_SYN_LOSS_NS = 3 * _SECOND
"""RFC 6298, section 5.7: where the handshake needed a retransmit."""


class RttEstimator:
    """SRTT, RTTVAR and RTO. `rto_ns` includes the backing off.

    RFC 6298 wants at least 1 s; every stack in use has a lower bound of its own, as Linux 200 ms.
    """

    __slots__ = ("_base_ns", "_granularity_ns", "_max_ns", "_min_ns", "rto_ns", "srtt_ns", "var_ns")

    def __init__(self, min_ns: int, max_ns: int, granularity_ns: int = 1_000_000) -> None:
        self._min_ns = min_ns
        self._max_ns = max_ns
        self._granularity_ns = granularity_ns
        self.srtt_ns = 0
        self.var_ns = 0
        self._base_ns = max(min_ns, min(INITIAL_RTO_NS, max_ns))
        self.rto_ns = self._base_ns

    def sample(self, rtt_ns: int) -> None:
        """Take one measurement (sections 2.2 and 2.3); ends backing off."""
        rtt_ns = max(rtt_ns, 0)
        if self.srtt_ns == 0:
            self.srtt_ns = max(rtt_ns, 1)
            self.var_ns = rtt_ns // 2
        else:
            self.var_ns += (abs(self.srtt_ns - rtt_ns) - self.var_ns) // 4
            self.srtt_ns = max(self.srtt_ns + (rtt_ns - self.srtt_ns) // 8, 1)
        wanted = self.srtt_ns + max(self._granularity_ns, 4 * self.var_ns)
        self._base_ns = max(self._min_ns, min(wanted, self._max_ns))
        self.rto_ns = self._base_ns

    def back_off(self) -> None:
        """Double the time-out (section 5.5)."""
        self.rto_ns = min(2 * self.rto_ns, self._max_ns)

    def progress(self) -> None:
        """New data was acknowledged: undo the backing off even if there was no sample.

        RFC 6298 keeps the backed-off value until there is a sample; with losses in a row that
        never comes without timestamps. Linux does the same (tcp_ack, icsk_backoff).
        """
        self.rto_ns = self._base_ns

    def syn_was_lost(self) -> None:
        """Section 5.7: be careful when the data begin."""
        self._base_ns = self.rto_ns = min(max(self._min_ns, AFTER_SYN_LOSS_NS), self._max_ns)

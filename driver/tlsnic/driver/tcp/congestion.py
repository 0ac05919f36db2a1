"""Congestion window: slow start, congestion avoidance, reaction to loss (RFC 5681, 6582, 6675).

Counts bytes (RFC 3465) without a limit per ACK: super-frames are acknowledged as a whole, and the
window would otherwise open by one segment for each 64 KiB.
"""

from __future__ import annotations

_UNLIMITED = 1 << 62


class NewReno:
    """`window` and `threshold` in bytes. With `enabled` False the window never limits."""

    __slots__ = ("_credit", "enabled", "mss", "threshold", "window")

    def __init__(self, mss: int, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.mss = mss
        self.threshold = _UNLIMITED
        self.window = _UNLIMITED
        self._credit = 0
        self.start(mss)

    @property
    def initial_window(self) -> int:
        """RFC 6928, section 2."""
        return min(10 * self.mss, max(2 * self.mss, 14600))

    def start(self, mss: int, *, after_loss: bool = False) -> None:
        """The handshake is done; with `after_loss` it needed a retransmit (RFC 5681, 3.1)."""
        self.mss = mss
        if self.enabled:
            self.window = mss if after_loss else self.initial_window

    def acknowledged(self, size: int) -> None:
        """`size` bytes were acknowledged while the window was in use."""
        if not self.enabled:
            return
        if self.window < self.threshold:
            self.window += size
            return
        self._credit += size
        if self._credit >= self.window:
            self._credit -= self.window
            self.window += self.mss

    def recover(self, flight: int) -> None:
        """Fast recovery begins with `flight` bytes on their way (RFC 5681, equation 4)."""
        self._halve(flight)
        if self.enabled:
            self.window = self.threshold

    def undo(self, window: int, threshold: int) -> None:
        """The last `recover` was for nothing: window and threshold from before it, at least."""
        if self.enabled:
            self.window = max(self.window, window)
        self.threshold = max(self.threshold, threshold)

    def time_out(self, flight: int, *, again: bool) -> None:
        """The retransmission timer fired; `again`: for the same data (RFC 5681, section 3.1)."""
        if not again:
            self._halve(flight)
        if self.enabled:
            self.window = self.mss

    def idle(self) -> None:
        """Nothing was sent for more than one RTO (RFC 5681, section 4.1)."""
        if self.enabled:
            self.window = min(self.window, self.initial_window)

    def _halve(self, flight: int) -> None:
        self.threshold = max(flight // 2, 2 * self.mss)
        self._credit = 0

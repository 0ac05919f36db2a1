"""When to tell a card that has lost its place where the next record starts.

The schedule of Linux's tls_device_core_ctrl_rx_resync(): a hint costs a command and may come too
late, so failures in a row make them rarer.
"""

from __future__ import annotations

from typing import Final

_FIRST_TARGET: Final = 2
_LONGEST_INTERVAL: Final = 128


class HintSchedule:
    """Says "now" after records 3, 5, 9, 17, 33, 65 and 129 in a row of which the card decrypted
    nothing, and then after every 128."""

    __slots__ = ("_missed", "_target")

    def __init__(self) -> None:
        self.offloaded()

    def offloaded(self) -> None:
        """The card has decrypted a record, or a part of it: count anew."""
        self._missed = 0
        self._target = _FIRST_TARGET

    def missed(self) -> bool:
        """The card has decrypted nothing of a record; whether to hint now."""
        self._missed += 1
        if self._missed <= self._target:
            return False
        if self._target < _LONGEST_INTERVAL:
            self._target *= 2
        else:
            self._target += _LONGEST_INTERVAL
        return True

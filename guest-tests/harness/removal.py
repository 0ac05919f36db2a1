"""A card that is taken away under its driver: from then on all reads give ones."""

from __future__ import annotations

import pytest

from tlsnic.driver.bus.base import Bar, all_ones
from tlsnic.driver.nic import Nic


class _Nothing(Bar):
    """Registers of a card that is not there."""

    def read(self, offset: int, width: int) -> int:
        return all_ones(width)

    def write(self, offset: int, value: int, width: int) -> None:
        pass


def remove(nic: Nic, patch: pytest.MonkeyPatch) -> None:
    """From now on the driver finds no card."""
    patch.setattr(nic.access, "regs", _Nothing(0, 1 << 16))
    patch.setattr(nic.access, "doorbells", _Nothing(2, 1 << 16))
    for queue in (nic.admin, nic.events, *nic.tx, *nic.rx):
        patch.setattr(queue, "_ring_doorbell", lambda *_: None)

"""Reaching a PCI function: one `Bus` over a vfio-user socket, uio_pci_generic and vfio-pci.

`open_bus(spec)` opens one; the rest are the types it hands out and the errors it raises. Which
registers the function has is no business of this package.
"""

from __future__ import annotations

from . import pci
from .base import Bar, Batch, Bus, all_ones
from .dma import DmaBuffer
from .errors import BusError, BusGoneError, BusProtocolError, BusReplyError, BusTimeoutError
from .interrupts import Interrupts

__all__ = [
    "Bar",
    "Batch",
    "Bus",
    "BusError",
    "BusGoneError",
    "BusProtocolError",
    "BusReplyError",
    "BusTimeoutError",
    "DmaBuffer",
    "Interrupts",
    "all_ones",
    "open_bus",
    "pci",
]

_SPECS = (
    "vfio-user:PATH, uio:0000:00:05.0, uio:VENDOR:DEVICE, vfio:0000:00:05.0 or vfio:VENDOR:DEVICE"
)


def open_bus(spec: str, *, timeout_s: float = 5.0, map_bars: bool = True) -> Bus:
    """Open the PCI function that `spec` names.

    vfio-user:PATH             the server of the vfio-user socket PATH, on this machine
    uio:DDDD:BB:DD.F           a PCI address, through uio_pci_generic (INTx, huge pages)
    vfio:DDDD:BB:DD.F          a PCI address, through vfio-pci and an IOMMU (MSI-X)
    uio:VVVV:DDDD, vfio:...    the only function with these vendor and device numbers (hex)

    `timeout_s` is the deadline of each answer of a vfio-user server; `map_bars=False` makes it see
    every access as a message. Raises BusError with the fix.
    """
    way, _, where = spec.partition(":")
    # Imported when needed: in a guest under emulation each import costs tenths of a second.
    if where and way == "vfio-user":
        from .vfio_user import open_vfio_user  # noqa: PLC0415

        return open_vfio_user(where, spec, timeout_s=timeout_s, map_bars=map_bars)
    if where and way == "uio":
        from .uio import open_uio  # noqa: PLC0415

        return open_uio(where, spec)
    if where and way == "vfio":
        from .vfio import open_vfio  # noqa: PLC0415

        return open_vfio(where, spec)
    raise BusError(f"{spec!r} names no bus", f"use {_SPECS}")

"""What the core needs from outside: host memory and interrupts (`Host`), and the wire (`Port`)."""

from collections.abc import Sequence
from typing import Protocol

from tlsnic.device.packet.vnet import VnetHeader

Buffer = bytes | bytearray | memoryview


class DmaFault(Exception):
    """A DMA address that cannot be used.

    Attributes:
        address: first guest address that failed.
        length: bytes that were asked for.
        permission: True when it is mapped, but not for this direction.
    """

    def __init__(self, address: int, length: int, *, permission: bool = False) -> None:
        reason = "is read-only for the device" if permission else "is not mapped"
        super().__init__(f"guest memory {address:#x}+{length:#x} {reason}")
        self.address = address
        self.length = length
        self.permission = permission


class Host(Protocol):
    """The PCI side: configuration space bits, guest memory, interrupts."""

    @property
    def bus_master(self) -> bool:
        """Bus Master Enable of the PCI command register."""

    @property
    def msix_enabled(self) -> bool:
        """MSI-X Enable of the MSI-X message control register."""

    @property
    def intx_disabled(self) -> bool:
        """Interrupt Disable of the PCI command register."""

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        """Guest memory as one view, or None when it crosses from one map into the next.

        Raises:
            DmaFault: not mapped, or mapped read-only and `write`.
        """

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """The same as several views, in order, across adjoining maps."""

    def trigger(self, vector: int) -> None:
        """Signal an MSI-X vector."""

    def set_intx(self, asserted: bool) -> None:
        """Drive the INTx line and the interrupt status bit of the PCI status register."""


class Port(Protocol):
    """The wire side, as far as transmit needs it."""

    @property
    def takes_super_frames(self) -> bool:
        """Whether segmentation and checksums may be left to the wire with a `VnetHeader`."""

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        """Take a frame that `parts` make up; False: not now. Parts are only valid during the call."""

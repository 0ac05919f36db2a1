"""Which frames from the wire are for this port: destination address and VLAN."""

from typing import Final

from tlsnic.abi import registers
from tlsnic.device.core.regfile import RegisterFile

BROADCAST: Final = b"\xff" * 6
_VLAN_ID: Final = 0xFFF


class Filters:
    """The receive filter registers, kept as sets so that a frame costs one look-up."""

    def __init__(self, regs: RegisterFile) -> None:
        self._regs = regs
        self._admitted: set[bytes] = set()
        self._promiscuous = False
        self._all_multicast = False
        self._by_vlan = False
        self.reload()
        regs.on_write("MAC_ADDRESS", self._write_address)
        regs.on_write("MAC_FILTER", self._write_entry)
        regs.on_write("RX_FILTER", self._write_control)

    def admits(self, destination: bytes) -> bool:
        """Whether a frame with this destination address (6 bytes) is taken."""
        return (
            destination in self._admitted
            or self._promiscuous
            or (self._all_multicast and bool(destination[0] & 1) and destination != BROADCAST)
        )

    def admits_vlan(self, tci: int | None) -> bool:
        """Whether a frame with this outer 802.1Q tag, or none, is taken."""
        if not self._by_vlan or tci is None:
            return True
        vlan = tci & _VLAN_ID
        return not vlan or bool(self._regs.get("VLAN_FILTER", vlan >> 6) >> (vlan & 63) & 1)

    def reload(self) -> None:
        """Read all filter registers again (reset, or after one was changed)."""
        get = self._regs.get
        control = get("RX_FILTER")
        self._promiscuous = bool(control & registers.RX_FILTER_PROMISCUOUS_MASK)
        self._all_multicast = bool(control & registers.RX_FILTER_ALL_MULTICAST_MASK)
        self._by_vlan = bool(control & registers.RX_FILTER_VLAN_FILTER_MASK)
        self.address = get("MAC_ADDRESS").to_bytes(6, "little")
        self._admitted = {self.address}
        if control & registers.RX_FILTER_BROADCAST_MASK:
            self._admitted.add(BROADCAST)
        for index in range(registers.MAC_FILTER_COUNT):
            entry = get("MAC_FILTER", index)
            if entry & registers.MAC_FILTER_VALID_MASK:
                address = entry & registers.MAC_FILTER_ADDRESS_MASK
                self._admitted.add(address.to_bytes(6, "little"))

    def _write_address(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._regs.put("MAC_ADDRESS", new)
        self.reload()
        return new

    def _write_entry(self, index: int, _old: int, new: int, _written: int) -> int:
        self._regs.put("MAC_FILTER", new, index)
        self.reload()
        return new

    def _write_control(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._regs.put("RX_FILTER", new)
        self.reload()
        return new

"""Device-wide settings: address, link, offloads, filters, RSS, moderation, counters, diagnostics.

Every setting that is written is remembered, so that it can be written again after a reset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import Diagnostic, EventMask, HashType, Offload, QueueKind
from tlsnic.driver.access import Access

RSS_KEY_BYTES = 4 * reg.RSS_KEY_COUNT
RSS_TABLE_ENTRIES = 4 * reg.RSS_TABLE_COUNT
_VLANS = 64 * reg.VLAN_FILTER_COUNT
_TX_TLS = int(Offload.TX_TLS)
_COUNTER_SECTION = "Counters"


class Capabilities(NamedTuple):
    """The capability registers, decoded."""

    version: tuple[int, int]
    """Major, minor."""
    tx_queues: int
    rx_queues: int
    vectors: int
    min_ring_entries: int
    max_ring_entries: int
    max_chain: int
    """Most descriptors in one packet."""
    min_rx_buffer_bytes: int
    offloads: Offload
    max_frame_bytes: int
    segment_payload_bytes: int
    tls_tx_suites: int
    """CipherSuite bits."""
    tls_rx_suites: int
    tls_flows: int
    tls_features: int
    """TlsFeature bits."""


class LastDiagnostic(NamedTuple):
    """What DIAG_LAST, DIAG_COUNT and DIAG_OPERAND say."""

    code: int
    """Diagnostic."""
    kind: int
    """QueueKind."""
    queue: int
    operand: int
    raised: int
    """Diagnostics since reset."""

    def __str__(self) -> str:
        code = Diagnostic(self.code).name if self.code in list(Diagnostic) else f"{self.code:#x}"
        kind = QueueKind(self.kind).name.lower() if self.kind in list(QueueKind) else "unknown"
        return f"{code} ({kind} {self.queue}, operand {self.operand:#x}), {self.raised} in all"


def mac_to_int(address: bytes) -> int:
    """Register value of 6 bytes of address: first octet in bits 7:0. ValueError."""
    if len(address) != 6:
        raise ValueError(f"a MAC address has 6 bytes, not {len(address)}")
    return int.from_bytes(address, "little")


def read_capabilities(access: Access) -> Capabilities:
    """Read and decode the capability registers."""
    version = access.read32(reg.VERSION)
    queues = access.read32(reg.CAP_QUEUES)
    rings = access.read32(reg.CAP_RINGS)
    frame = access.read32(reg.CAP_FRAME)
    return Capabilities(
        (version >> reg.VERSION_MAJOR_SHIFT, version & reg.VERSION_MINOR_MASK),
        queues & reg.CAP_QUEUES_TX_QUEUES_MASK,
        (queues & reg.CAP_QUEUES_RX_QUEUES_MASK) >> reg.CAP_QUEUES_RX_QUEUES_SHIFT,
        (queues & reg.CAP_QUEUES_VECTORS_MASK) >> reg.CAP_QUEUES_VECTORS_SHIFT,
        1 << (rings & reg.CAP_RINGS_MIN_LOG2_MASK),
        1 << ((rings & reg.CAP_RINGS_MAX_LOG2_MASK) >> reg.CAP_RINGS_MAX_LOG2_SHIFT),
        (rings & reg.CAP_RINGS_MAX_CHAIN_MASK) >> reg.CAP_RINGS_MAX_CHAIN_SHIFT,
        64 * (rings >> reg.CAP_RINGS_MIN_RX_BUFFER_SHIFT),
        Offload(access.read32(reg.CAP_OFFLOADS)),
        frame & reg.CAP_FRAME_FRAME_BYTES_MASK,
        frame >> reg.CAP_FRAME_SEGMENT_PAYLOAD_BYTES_SHIFT,
        access.read64(reg.CAP_TLS_TX),
        access.read64(reg.CAP_TLS_RX),
        access.read32(reg.CAP_TLS_FLOWS),
        access.read32(reg.CAP_TLS_FEATURES),
    )


class Settings:
    """The device-wide settings of one card. Setters write at once; a value out of range is a
    ValueError before it is written."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._tx_checksum = True
        self._written: dict[int, tuple[int, int]] = {}  # offset: value, width in bytes

    def _set32(self, offset: int, value: int) -> None:
        self._written[offset] = (value, 4)
        self.access.write32(offset, value)

    def _set64(self, offset: int, value: int) -> None:
        self._written[offset] = (value, 8)
        self.access.write64(offset, value)

    def write_again(self) -> None:
        """Write every setting that was ever written, after a reset."""
        for offset, (value, width) in self._written.items():
            self.access.regs.write(offset, value, width)

    # Port

    @property
    def mac_address(self) -> bytes:
        """The port's unicast address, 6 bytes."""
        return self.access.read64(reg.MAC_ADDRESS).to_bytes(8, "little")[:6]

    @mac_address.setter
    def mac_address(self, address: bytes) -> None:
        self._set64(reg.MAC_ADDRESS, mac_to_int(address))

    @property
    def max_frame_bytes(self) -> int:
        """Longest frame in either direction, without FCS; a VLAN tag may come on top."""
        return self.access.read32(reg.MAX_FRAME) & reg.MAX_FRAME_BYTES_MASK

    @max_frame_bytes.setter
    def max_frame_bytes(self, size: int) -> None:
        limit = self.access.read32(reg.CAP_FRAME) & reg.CAP_FRAME_FRAME_BYTES_MASK
        if not 64 <= size <= limit:
            raise ValueError(f"MAX_FRAME is 64 to {limit}, not {size}")
        self._set32(reg.MAX_FRAME, size)

    @property
    def link_up(self) -> bool:
        """Whether the link is up now."""
        return bool(self.access.read32(reg.STATUS) & reg.STATUS_LINK_UP_MASK)

    @property
    def link_mbps(self) -> int:
        """Nominal speed of the wire in megabits per second."""
        return self.access.read32(reg.LINK_SPEED)

    def enable_traffic(self, *, transmit: bool, receive: bool) -> None:
        """Set CONTROL.TX_ENABLE and RX_ENABLE."""
        value = (reg.CONTROL_TX_ENABLE_MASK if transmit else 0) | (
            reg.CONTROL_RX_ENABLE_MASK if receive else 0
        )
        self.access.write32(reg.CONTROL, value)

    # Offloads

    @property
    def offloads(self) -> Offload:
        """Receive offloads that are on (OFFLOAD_ENABLE but for TX_TLS, see `tx_tls`).

        Setting replaces all. Raises ValueError for a bit that the card lacks, and for RX_TLS
        without RX_CHECKSUM.
        """
        return Offload(self.access.read32(reg.OFFLOAD_ENABLE) & ~_TX_TLS)

    @offloads.setter
    def offloads(self, offloads: int) -> None:
        if offloads & _TX_TLS:
            raise ValueError("TX_TLS is no receive offload: set tx_tls")
        if offloads & Offload.RX_TLS and not offloads & Offload.RX_CHECKSUM:
            raise ValueError("RX_TLS needs RX_CHECKSUM")
        self._set_offloads(offloads | self.access.read32(reg.OFFLOAD_ENABLE) & _TX_TLS)

    @property
    def tx_checksum(self) -> bool:
        """Whether transmit checksums are left to the card. They are asked for packet by packet,
        so this is a switch of the driver, and starts as on.

        Switching it off switches `tx_tls` off, as Linux's netdev_fix_features() does.
        """
        return self._tx_checksum

    @tx_checksum.setter
    def tx_checksum(self, on: bool) -> None:
        self._tx_checksum = on
        if not on and self.tx_tls:
            self.tx_tls = False

    @property
    def tx_tls(self) -> bool:
        """Whether TLS flows can be made (OFFLOAD_ENABLE.TX_TLS); those that exist go on.

        Raises ValueError when the card lacks it, or `tx_checksum` is off.
        """
        return bool(self.access.read32(reg.OFFLOAD_ENABLE) & _TX_TLS)

    @tx_tls.setter
    def tx_tls(self, on: bool) -> None:
        if on and not self._tx_checksum:
            raise ValueError("TX_TLS needs transmit checksums: tx_checksum is off")
        others = self.access.read32(reg.OFFLOAD_ENABLE) & ~_TX_TLS
        self._set_offloads(others | (_TX_TLS if on else 0))

    def _set_offloads(self, offloads: int) -> None:
        missing = offloads & ~self.access.read32(reg.CAP_OFFLOADS)
        if missing:
            raise ValueError(f"the card does not offer {Offload(missing)!r}")
        self._set32(reg.OFFLOAD_ENABLE, offloads)

    def set_rx_coalesce(self, timeout_us: int, max_kib: int = 64, max_segments: int = 64) -> None:
        """Limits of receive coalescing; OFFLOAD_ENABLE.RX_COALESCE switches it on."""
        _range("timeout_us", timeout_us, 0xFFFF)
        _range("max_kib", max_kib, 0xFF)
        _range("max_segments", max_segments, 0xFF)
        self._set32(
            reg.RX_COALESCE,
            timeout_us << reg.RX_COALESCE_TIMEOUT_US_SHIFT
            | max_kib << reg.RX_COALESCE_MAX_KIB_SHIFT
            | max_segments << reg.RX_COALESCE_MAX_SEGMENTS_SHIFT,
        )

    def set_moderation(self, vector: int, usecs: int, frames: int = 0) -> None:
        """Interrupt moderation of a vector: wait `usecs` or `frames` completions; zero, no wait."""
        _range("vector", vector, reg.MODERATION_COUNT - 1)
        _range("usecs", usecs, 0xFFFF)
        _range("frames", frames, 0xFFFF)
        self._set32(
            reg.MODERATION + vector * reg.MODERATION_STRIDE,
            usecs << reg.MODERATION_USECS_SHIFT | frames << reg.MODERATION_FRAMES_SHIFT,
        )

    def set_events(self, events: EventMask) -> None:
        """Kinds of events that the card writes to the event queue."""
        self._set32(reg.EVENT_ENABLE, int(events))

    # RSS

    def set_rss(self, key: bytes, table: Sequence[int], types: HashType) -> None:
        """Spread packets over the receive queues.

        key: 40 bytes of Toeplitz key. table: receive queues, repeated to fill the 128 entries (so
        that `[0, 1, 2]` spreads over three). types: what is hashed. Raises ValueError.
        """
        if len(key) != RSS_KEY_BYTES:
            raise ValueError(f"an RSS key has {RSS_KEY_BYTES} bytes, not {len(key)}")
        if not 0 < len(table) <= RSS_TABLE_ENTRIES:
            raise ValueError(f"an RSS table of {len(table)} entries; 1 to {RSS_TABLE_ENTRIES}")
        for queue in table:
            _range("receive queue in the RSS table", queue, 0xFF)
        for n in range(reg.RSS_KEY_COUNT):
            word = int.from_bytes(key[4 * n : 4 * n + 4], "little")
            self._set32(reg.RSS_KEY + n * reg.RSS_KEY_STRIDE, word)
        entries = bytes(table[n % len(table)] for n in range(RSS_TABLE_ENTRIES))
        for n in range(reg.RSS_TABLE_COUNT):
            word = int.from_bytes(entries[4 * n : 4 * n + 4], "little")
            self._set32(reg.RSS_TABLE + n * reg.RSS_TABLE_STRIDE, word)
        self._set32(reg.RSS_CONTROL, int(types) | reg.RSS_CONTROL_ENABLE_MASK)

    def disable_rss(self) -> None:
        """Every packet to receive queue 0."""
        self._set32(reg.RSS_CONTROL, 0)

    # Filters

    def set_rx_filter(
        self,
        *,
        promiscuous: bool = False,
        all_multicast: bool = False,
        broadcast: bool = True,
        vlan_filter: bool = False,
    ) -> None:
        """Which frames are taken besides those for the port's address."""
        self._set32(
            reg.RX_FILTER,
            (reg.RX_FILTER_PROMISCUOUS_MASK if promiscuous else 0)
            | (reg.RX_FILTER_ALL_MULTICAST_MASK if all_multicast else 0)
            | (reg.RX_FILTER_BROADCAST_MASK if broadcast else 0)
            | (reg.RX_FILTER_VLAN_FILTER_MASK if vlan_filter else 0),
        )

    def set_mac_filters(self, addresses: Sequence[bytes]) -> None:
        """Further unicast and multicast addresses to take; replaces the whole table."""
        if len(addresses) > reg.MAC_FILTER_COUNT:
            raise ValueError(
                f"{len(addresses)} addresses; the filter table has {reg.MAC_FILTER_COUNT} entries"
            )
        values = [mac_to_int(address) | reg.MAC_FILTER_VALID_MASK for address in addresses]
        for n in range(reg.MAC_FILTER_COUNT):
            offset = reg.MAC_FILTER + n * reg.MAC_FILTER_STRIDE
            value = values[n] if n < len(values) else 0
            if value != self._written.get(offset, (0, 8))[0]:
                self._set64(offset, value)

    def set_vlan_filters(self, vlans: Iterable[int]) -> None:
        """VLANs (0 to 4095) that RX_FILTER.VLAN_FILTER admits; replaces the whole table."""
        words = [0] * reg.VLAN_FILTER_COUNT
        for vlan in vlans:
            _range("VLAN identifier", vlan, _VLANS - 1)
            words[vlan >> 6] |= 1 << (vlan & 63)
        for n, word in enumerate(words):
            offset = reg.VLAN_FILTER + n * reg.VLAN_FILTER_STRIDE
            if word != self._written.get(offset, (0, 8))[0]:
                self._set64(offset, word)

    # Counters and diagnostics

    def counters(self) -> dict[str, int]:
        """All counters by register name, read one after the other."""
        return {name: self.access.read64(offset) for name, offset in counter_offsets().items()}

    def diagnostics(self) -> LastDiagnostic:
        """The last diagnostic, and how many there were since reset."""
        last = self.access.read32(reg.DIAG_LAST)
        return LastDiagnostic(
            last & reg.DIAG_LAST_CODE_MASK,
            last >> reg.DIAG_LAST_KIND_SHIFT,
            (last & reg.DIAG_LAST_QUEUE_MASK) >> reg.DIAG_LAST_QUEUE_SHIFT,
            self.access.read64(reg.DIAG_OPERAND),
            self.access.read32(reg.DIAG_COUNT),
        )


def counter_offsets() -> dict[str, int]:
    """Byte offset in BAR 0 of every counter, by register name."""
    return {
        register.name: register.offset
        for register in reg.BAR0.registers
        if register.section == _COUNTER_SECTION
    }


def _range(name: str, value: int, highest: int) -> None:
    if not 0 <= value <= highest:
        raise ValueError(f"{name} is 0 to {highest}, not {value}")

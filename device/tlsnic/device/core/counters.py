"""The counters of the card, one attribute per counter register."""

from struct import Struct

from tlsnic.abi import registers

COUNTER_REGISTERS = tuple(
    register for register in registers.BAR0.registers if register.section == "Counters"
)
FIRST_OFFSET = COUNTER_REGISTERS[0].offset
BLOCK_BYTES = COUNTER_REGISTERS[-1].offset + 8 - FIRST_OFFSET
"""Size of what the STATISTICS command writes, in bytes."""

_U64 = Struct("<Q")
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Counters:
    """Plain integers, so that the fast paths can add to them; registers show them modulo 2^64."""

    __slots__ = tuple(register.name.lower() for register in COUNTER_REGISTERS)

    tx_packets: int
    tx_sent_packets: int
    tx_frames: int
    tx_bytes: int
    tx_segmented: int
    tx_drop_link_down: int
    tx_drop_bad_packet: int
    tx_drop_dma: int
    tx_drop_tls: int
    tx_wire_busy: int
    rx_wire_frames: int
    rx_frames: int
    rx_bytes: int
    rx_packets: int
    rx_multicast: int
    rx_broadcast: int
    rx_checksum_bad: int
    rx_coalesced: int
    rx_drop_disabled: int
    rx_drop_filter: int
    rx_drop_runt: int
    rx_drop_oversize: int
    rx_drop_no_buffer: int
    rx_drop_dma: int
    interrupts: int
    events_lost: int
    tx_tls_encrypted_packets: int
    tx_tls_encrypted_bytes: int
    tx_tls_ooo: int
    tx_tls_presync: int
    tx_tls_drop_no_sync_data: int
    tx_tls_drop_bad_handle: int
    tx_tls_skip_no_sync_data: int
    tx_tls_drop_bypass_req: int
    tx_tls_ctx: int
    tx_tls_del: int
    tx_tls_paced: int
    rx_tls_decrypted_packets: int
    rx_tls_decrypted_bytes: int
    rx_tls_resync_req_pkt: int
    rx_tls_resync_req_start: int
    rx_tls_resync_req_end: int
    rx_tls_resync_req_skip: int
    rx_tls_resync_res_ok: int
    rx_tls_resync_res_skip: int
    rx_tls_resync_tag: int
    rx_tls_err: int
    rx_tls_ctx: int
    rx_tls_del: int

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Set all to zero (reset)."""
        for name in self.__slots__:
            setattr(self, name, 0)

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def block(self) -> bytes:
        """All counters at the distances their registers have, gaps as zero (STATISTICS)."""
        block = bytearray(BLOCK_BYTES)
        for register in COUNTER_REGISTERS:
            value = getattr(self, register.name.lower()) & _MASK
            _U64.pack_into(block, register.offset - FIRST_OFFSET, value)
        return bytes(block)

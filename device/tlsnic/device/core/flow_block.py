"""The flow block of TLS_FLOW_CREATE and TLS_FLOW_REKEY: read once, checked field by field, wiped.

A flow block holds keys: it is read into a bytearray that is overwritten before the response is written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from tlsnic.abi.enums import CommandStatus, Diagnostic, TlsDirection, TlsFlowFlags
from tlsnic.abi.structures import TlsFlow
from tlsnic.abi.suites import MAX_PLAINTEXT, MIN_PLAINTEXT_LIMIT, SUITES, RecordKind, SuiteLayout
from tlsnic.device.core.commands import Blocks, CommandFailed
from tlsnic.device.core.parts import Parts
from tlsnic.device.tls.keys import KeyMaterial
from tlsnic.device.tls.record import RecordFormat

_FLAGS: Final = {
    TlsDirection.TRANSMIT: int(
        TlsFlowFlags.ENCRYPT_THEN_MAC | TlsFlowFlags.RATE_LIMIT | TlsFlowFlags.VLAN
    ),
    TlsDirection.RECEIVE: int(
        TlsFlowFlags.RESYNC_HOST | TlsFlowFlags.RESYNC_TAG | TlsFlowFlags.VLAN
    ),
}
_CAPABILITY: Final = {
    TlsDirection.TRANSMIT: "CAP_TLS_TX",
    TlsDirection.RECEIVE: "CAP_TLS_RX",
}
_MAX_VLAN_ID: Final = 4094
_V4_MAPPED: Final = bytes(10) + b"\xff\xff"
_PORT: Final = Struct("!H")
"""As in a packet; the block has them in host byte order."""
_WORDS: Final = Struct("<BBHHHQQI")
"""direction to tcp_sequence of tls_flow."""
_PORTS_AND_RATE: Final = Struct("<HHQ")
_LENGTHS: Final = Struct("<HHHH")
"""key_length, iv_length, mac_key_length, max_plaintext."""
_KEY_OFFSETS: Final = (TlsFlow.OFFSET_KEY, TlsFlow.OFFSET_IV, TlsFlow.OFFSET_MAC_KEY)

_format = lru_cache(maxsize=256)(RecordFormat)
"""Flows share their format, which is larger than all else that they have."""


class Keys(NamedTuple):
    """What a flow block says of records: all of it but the keys themselves."""

    direction: TlsDirection
    flags: int
    record_format: RecordFormat
    key_bytes: int
    record_number: int
    tcp_sequence: int


class Connection(NamedTuple):
    """What a flow block says of its connection: addresses and ports as in a packet."""

    local_address: bytes
    remote_address: bytes
    local_port: bytes
    remote_port: bytes
    vlan_id: int | None
    rate: int

    @property
    def transmitted(self) -> bytes:
        """`headers.flow_key` of packets that leave."""
        return self.local_address + self.remote_address + self.local_port + self.remote_port

    @property
    def received(self) -> bytes:
        """`headers.flow_key` of packets that come."""
        return self.remote_address + self.local_address + self.remote_port + self.local_port


class FlowBlock:
    """A copy of a flow block whose half about records and keys was found good."""

    def __init__(self, raw: bytearray, blocks: Blocks, keys: Keys) -> None:
        self._raw = raw
        self._blocks = blocks
        self.keys = keys

    def material(self) -> KeyMaterial:
        """The keys, in a copy of their own."""
        *lengths, _ = _LENGTHS.unpack_from(self._raw, TlsFlow.OFFSET_KEY_LENGTH)
        view = memoryview(self._raw)
        return KeyMaterial(
            *(
                view[offset : offset + length]
                for offset, length in zip(_KEY_OFFSETS, lengths, strict=True)
            )
        )

    def check_same(
        self, direction: TlsDirection, record_format: RecordFormat, key_bytes: int
    ) -> None:
        """CommandFailed: a rekey of a flow with these that would change more than the keys."""
        keys = self.keys
        old, new = record_format, keys.record_format
        for offset, same in (
            (TlsFlow.OFFSET_DIRECTION, keys.direction is direction),
            (TlsFlow.OFFSET_SUITE, new.layout is old.layout),
            (TlsFlow.OFFSET_FLAGS, new.encrypt_then_mac == old.encrypt_then_mac),
            (TlsFlow.OFFSET_KEY_LENGTH, keys.key_bytes == key_bytes),
            (TlsFlow.OFFSET_MAX_PLAINTEXT, new.max_plaintext == old.max_plaintext),
        ):
            if not same:
                refuse(self._blocks, CommandStatus.BAD_FIELD, offset)

    def connection(self) -> Connection:
        """The half about the connection. CommandFailed: something it must not say."""
        raw, blocks = self._raw, self._blocks
        _, ip_version, flags, _, vlan_id, _, _, _ = _WORDS.unpack_from(raw)
        local_port, remote_port, rate = _PORTS_AND_RATE.unpack_from(raw, TlsFlow.OFFSET_LOCAL_PORT)
        if vlan_id > (_MAX_VLAN_ID if flags & TlsFlowFlags.VLAN else 0):
            refuse(blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_VLAN_ID)
        if flags & TlsFlowFlags.RATE_LIMIT and not rate:
            refuse(blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_RATE_BYTES_PER_S)
        if ip_version not in (4, 6):
            refuse(blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_IP_VERSION)
        local, remote = (
            bytes(raw[offset : offset + 16])
            for offset in (TlsFlow.OFFSET_LOCAL_ADDRESS, TlsFlow.OFFSET_REMOTE_ADDRESS)
        )
        if ip_version == 4:
            local, remote = local[:4], remote[:4]
        elif local.startswith(_V4_MAPPED) and remote.startswith(_V4_MAPPED):
            local, remote = local[12:], remote[12:]
        return Connection(
            local,
            remote,
            _PORT.pack(local_port),
            _PORT.pack(remote_port),
            vlan_id if flags & TlsFlowFlags.VLAN else None,
            rate if flags & TlsFlowFlags.RATE_LIMIT else 0,
        )


class FlowBlocks:
    """Reads flow blocks from guest memory."""

    def __init__(self, parts: Parts) -> None:
        self._regs = parts.regs
        self._blocks = Blocks(parts)

    @contextmanager
    def load(self, address: int, length: int, address_offset: int) -> Iterator[FlowBlock]:
        """The block at `address`; the copy is overwritten when the context ends.

        Raises:
            CommandFailed: misaligned, too short, or it says something of keys that it must not.
            DmaFault: not mapped.
        """
        raw = self._blocks.load_secret(address, length, TlsFlow.SIZE, address_offset)
        try:
            yield FlowBlock(raw, self._blocks, self._check_keys(raw))
        finally:
            raw[:] = bytes(len(raw))

    def _check_keys(self, raw: bytearray) -> Keys:
        # Not of the whole block: that would leave a copy of the keys in freed memory.
        if int.from_bytes(raw[: TlsFlow.OFFSET_KEY], "little") & TlsFlow.RESERVED:
            self._blocks.report(Diagnostic.COMMAND_RESERVED, TlsFlow.OFFSET_FLAGS)
            raise CommandFailed(CommandStatus.RESERVED_BITS)
        kind, _, flags, version, _, suite, number, sequence = _WORDS.unpack_from(raw)
        *lengths, max_plaintext = _LENGTHS.unpack_from(raw, TlsFlow.OFFSET_KEY_LENGTH)
        if kind > TlsDirection.RECEIVE:
            refuse(self._blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_DIRECTION)
        direction = TlsDirection(kind)
        if flags & ~_FLAGS[direction]:
            refuse(self._blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_FLAGS)
        layout = SUITES.get(suite)
        if layout is None or not self._regs.get(_CAPABILITY[direction]) & suite:
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_SUITE)
        if version != layout.version:
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_TLS_VERSION)
        encrypt_then_mac = bool(flags & TlsFlowFlags.ENCRYPT_THEN_MAC)
        if encrypt_then_mac and (layout.kind is not RecordKind.CBC or version != 0x0303):
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_FLAGS)
        self._check_lengths(layout, lengths)
        max_plaintext = max_plaintext or MAX_PLAINTEXT
        if not MIN_PLAINTEXT_LIMIT <= max_plaintext <= MAX_PLAINTEXT:
            refuse(self._blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_MAX_PLAINTEXT)
        record_format = _format(layout, encrypt_then_mac, max_plaintext)
        return Keys(direction, flags, record_format, lengths[0], number, sequence)

    def _check_lengths(self, layout: SuiteLayout, lengths: list[int]) -> None:
        wanted = (layout.key_bytes, (layout.iv_bytes,), (layout.mac_key_bytes,))
        for number, (length, choices) in enumerate(zip(lengths, wanted, strict=True)):
            if length not in choices:
                refuse(
                    self._blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_KEY_LENGTH + 2 * number
                )


def refuse(blocks: Blocks, status: CommandStatus, detail: int) -> NoReturn:
    """A field that no driver should have written."""
    blocks.report(Diagnostic.COMMAND_FIELD, detail)
    raise CommandFailed(status, detail)

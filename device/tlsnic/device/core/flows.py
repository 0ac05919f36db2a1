"""The TLS commands of the admin queue: flow contexts made, shown, rekeyed, paced and destroyed.

A flow block holds keys: it is read into a bytearray that is overwritten before the response is written.
"""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from tlsnic.abi.enums import (
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    Offload,
    TlsDirection,
    TlsFlowFlags,
)
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import (
    TlsFlow,
    TlsFlowCreateCommand,
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowRateCommand,
    TlsFlowRekeyCommand,
    TlsFlowState,
)
from tlsnic.abi.suites import MAX_PLAINTEXT, MIN_PLAINTEXT_LIMIT, SUITES, RecordKind, SuiteLayout
from tlsnic.device.core.commands import Blocks, CommandFailed, Handlers, Pending, Result
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.transmit import Transmitter
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.encrypt import MAX_RECORD_NUMBER
from tlsnic.device.tls.fence import Drain, Fence
from tlsnic.device.tls.flow import RekeyFault, TxFlow
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.pace import Pace
from tlsnic.device.tls.record import RecordCipher, RecordFormat
from tlsnic.device.tls.table import Duplicate, FlowTable, TableFull

_TX_FLAGS: Final = int(TlsFlowFlags.ENCRYPT_THEN_MAC | TlsFlowFlags.RATE_LIMIT | TlsFlowFlags.VLAN)
_MAX_VLAN_ID: Final = 4094
_V4_MAPPED: Final = bytes(10) + b"\xff\xff"
_PORTS: Final = Struct("!HH")
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

    record_format: RecordFormat
    key_bytes: int
    record_number: int
    tcp_sequence: int


class Connection(NamedTuple):
    """What a flow block says of its connection, addresses and ports as in a packet."""

    ip_version: int
    address: bytes
    vlan_id: int | None
    rate: int


class FlowCommands:
    """Carries out the TLS commands on the flow table."""

    def __init__(self, parts: Parts, transmitter: Transmitter, queues: Sequence[Drain]) -> None:
        self._regs = parts.regs
        self._counters = parts.counters
        self._flows: FlowTable = parts.flows
        self._transmitter = transmitter
        self._queues = queues
        self._blocks = Blocks(parts)
        self._keys = KeyCache()
        self.handlers: Handlers = {
            CommandOpcode.TLS_FLOW_CREATE: self._create,
            CommandOpcode.TLS_FLOW_QUERY: self._query,
            CommandOpcode.TLS_FLOW_REKEY: self._rekey,
            CommandOpcode.TLS_FLOW_RATE: self._rate,
            CommandOpcode.TLS_FLOW_DESTROY: self._destroy,
        }

    # Commands

    def _create(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowCreateCommand)
        raw = self._blocks.load(
            command.address, command.length, TlsFlow.SIZE, TlsFlowCreateCommand.OFFSET_ADDRESS
        )
        try:
            keys = self._check_keys(raw)
            connection = self._check_connection(raw)
            if not self._regs.get("OFFLOAD_ENABLE") & Offload.TX_TLS:
                raise CommandFailed(CommandStatus.DISABLED)
            cipher = self._cipher(raw, keys)
        finally:
            raw[:] = bytes(len(raw))
        flow = TxFlow(
            keys.record_format,
            cipher,
            tcp_sequence=keys.tcp_sequence,
            record_number=keys.record_number,
            ip_version=connection.ip_version,
            address=connection.address,
            vlan_id=connection.vlan_id,
        )
        if connection.rate:
            flow.pace = Pace(connection.rate)
        try:
            handle = self._flows.add(flow)
        except (Duplicate, TableFull) as refusal:
            flow.wipe()
            full = isinstance(refusal, TableFull)
            raise CommandFailed(
                CommandStatus.TABLE_FULL if full else CommandStatus.DUPLICATE
            ) from None
        self._counters.tx_tls_ctx += 1
        return handle, 0

    def _query(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowQueryCommand)
        flow = self._flow(command.handle)
        self._blocks.check(
            command.address,
            command.length,
            TlsFlowState.SIZE,
            TlsFlowQueryCommand.OFFSET_ADDRESS,
        )
        cursor = flow.cursor
        epoch = flow.epoch_at(cursor.start)
        assert epoch is not None
        pace = flow.pace
        state = TlsFlowState(
            direction=TlsDirection.TRANSMIT,
            tcp_sequence=flow.sequence,
            record_number=min(cursor.number, MAX_RECORD_NUMBER),
            packets=flow.packets,
            payload_bytes=flow.payload_bytes,
            out_of_order=flow.out_of_order,
            not_offloaded=flow.refused,
            presynced=flow.presynced,
            rate_bytes_per_s=pace.rate if pace is not None else 0,
            record_iv=epoch.cipher.iv_of(cursor.number) or bytes(16),
        )
        self._blocks.store(command.address, state.pack())
        return TlsFlowState.SIZE, 0

    def _rekey(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowRekeyCommand)
        flow = self._flow(command.handle)
        raw = self._blocks.load(
            command.address, command.length, TlsFlow.SIZE, TlsFlowRekeyCommand.OFFSET_ADDRESS
        )
        try:
            keys = self._check_keys(raw)
            self._check_same(keys, flow)
            if flow.rekey_pending:
                raise CommandFailed(CommandStatus.BUSY)
            cipher = self._cipher(raw, keys)
        finally:
            raw[:] = bytes(len(raw))
        try:
            flow.rekey(cipher, keys.tcp_sequence, keys.record_number)
        except RekeyFault:
            cipher.wipe()
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_TCP_SEQUENCE)
        return 0, 0

    def _rate(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowRateCommand)
        flow = self._flow(command.handle)
        self._set_rate(flow, command.rate_bytes_per_s)
        return 0, 0

    def _destroy(self, command: Structure) -> Pending:
        assert isinstance(command, TlsFlowDestroyCommand)
        flow = self._flow(command.handle)
        flow.fence = fence = Fence(self._queues)
        self._flows.release_key(flow)
        self._set_rate(flow, 0)

        def finish() -> Result | None:
            if not fence.passed or (flow.pace is not None and flow.pace.frames):
                return None
            self._flows.remove(flow)
            self._counters.tx_tls_del += 1
            return 0, 0

        return finish

    # Inside

    def _flow(self, handle: int) -> TxFlow:
        flow = self._flows.get(handle)
        if flow is None or flow.fence is not None:
            self._blocks.report(Diagnostic.TLS_HANDLE, handle)
            raise CommandFailed(CommandStatus.BAD_HANDLE)
        return flow

    def _set_rate(self, flow: TxFlow, rate: int) -> None:
        pacer, now_ns = self._transmitter.pacer, self._transmitter.now_ns
        if flow.pace is not None:
            pacer.set_rate(flow.pace, rate, now_ns)
            self._transmitter.poll()
            if not rate and not flow.pace.frames:
                flow.pace = None
        elif rate:
            flow.pace = Pace(rate)

    def _refuse(self, status: CommandStatus, detail: int) -> NoReturn:
        """A field that no driver should have written."""
        self._blocks.report(Diagnostic.COMMAND_FIELD, detail)
        raise CommandFailed(status, detail)

    def _cipher(self, raw: bytearray, keys: Keys) -> RecordCipher:
        """The cipher with the keys that the block `raw` holds, whose lengths were checked."""
        *lengths, _ = _LENGTHS.unpack_from(raw, TlsFlow.OFFSET_KEY_LENGTH)
        view = memoryview(raw)
        key, iv, mac_key = (
            view[offset : offset + length]
            for offset, length in zip(_KEY_OFFSETS, lengths, strict=True)
        )
        material = KeyMaterial(key, iv, mac_key)
        return make_cipher(keys.record_format, material, self._keys, keys.record_number)

    def _check_keys(self, raw: bytearray) -> Keys:
        """The block's half about records and keys. CommandFailed: something it must not say."""
        # Not of the whole block: that would leave a copy of the keys in freed memory.
        if int.from_bytes(raw[: TlsFlow.OFFSET_KEY], "little") & TlsFlow.RESERVED:
            self._blocks.report(Diagnostic.COMMAND_RESERVED, TlsFlow.OFFSET_FLAGS)
            raise CommandFailed(CommandStatus.RESERVED_BITS)
        direction, _, flags, version, _, suite, number, sequence = _WORDS.unpack_from(raw)
        *lengths, max_plaintext = _LENGTHS.unpack_from(raw, TlsFlow.OFFSET_KEY_LENGTH)
        if direction > TlsDirection.RECEIVE:
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_DIRECTION)
        if direction != TlsDirection.TRANSMIT:
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_DIRECTION)
        if flags & ~_TX_FLAGS:
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_FLAGS)
        layout = SUITES.get(suite)
        if layout is None or not self._regs.get("CAP_TLS_TX") & suite:
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_SUITE)
        if version != layout.version:
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_TLS_VERSION)
        encrypt_then_mac = bool(flags & TlsFlowFlags.ENCRYPT_THEN_MAC)
        if encrypt_then_mac and (layout.kind is not RecordKind.CBC or version != 0x0303):
            raise CommandFailed(CommandStatus.UNSUPPORTED, TlsFlow.OFFSET_FLAGS)
        self._check_lengths(layout, lengths)
        max_plaintext = max_plaintext or MAX_PLAINTEXT
        if not MIN_PLAINTEXT_LIMIT <= max_plaintext <= MAX_PLAINTEXT:
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_MAX_PLAINTEXT)
        record_format = _format(layout, encrypt_then_mac, max_plaintext)
        return Keys(record_format, lengths[0], number, sequence)

    def _check_same(self, keys: Keys, flow: TxFlow) -> None:
        """CommandFailed: a rekey that would change more than the keys."""
        old, new = flow.format, keys.record_format
        for offset, same in (
            (TlsFlow.OFFSET_SUITE, new.layout is old.layout),
            (TlsFlow.OFFSET_FLAGS, new.encrypt_then_mac == old.encrypt_then_mac),
            (TlsFlow.OFFSET_KEY_LENGTH, keys.key_bytes == flow.epochs[-1].cipher.key_bytes),
            (TlsFlow.OFFSET_MAX_PLAINTEXT, new.max_plaintext == old.max_plaintext),
        ):
            if not same:
                self._refuse(CommandStatus.BAD_FIELD, offset)

    def _check_connection(self, raw: bytearray) -> Connection:
        """The block's half about the connection. CommandFailed: something it must not say."""
        _, ip_version, flags, _, vlan_id, _, _, _ = _WORDS.unpack_from(raw)
        local_port, remote_port, rate = _PORTS_AND_RATE.unpack_from(raw, TlsFlow.OFFSET_LOCAL_PORT)
        if vlan_id > (_MAX_VLAN_ID if flags & TlsFlowFlags.VLAN else 0):
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_VLAN_ID)
        if flags & TlsFlowFlags.RATE_LIMIT and not rate:
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_RATE_BYTES_PER_S)
        ip_version, addresses = self._addresses(raw, ip_version)
        return Connection(
            ip_version,
            addresses + _PORTS.pack(local_port, remote_port),
            vlan_id if flags & TlsFlowFlags.VLAN else None,
            rate if flags & TlsFlowFlags.RATE_LIMIT else 0,
        )

    def _check_lengths(self, layout: SuiteLayout, lengths: list[int]) -> None:
        wanted = (layout.key_bytes, (layout.iv_bytes,), (layout.mac_key_bytes,))
        for number, (length, choices) in enumerate(zip(lengths, wanted, strict=True)):
            if length not in choices:
                self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_KEY_LENGTH + 2 * number)

    def _addresses(self, raw: bytearray, ip_version: int) -> tuple[int, bytes]:
        """IP version and addresses as on the wire, where v4-mapped ones are IPv4."""
        local, remote = (
            bytes(raw[offset : offset + 16])
            for offset in (TlsFlow.OFFSET_LOCAL_ADDRESS, TlsFlow.OFFSET_REMOTE_ADDRESS)
        )
        if ip_version == 4:
            return 4, local[:4] + remote[:4]
        if ip_version != 6:
            self._refuse(CommandStatus.BAD_FIELD, TlsFlow.OFFSET_IP_VERSION)
        if local.startswith(_V4_MAPPED) and remote.startswith(_V4_MAPPED):
            return 4, local[12:] + remote[12:]
        return 6, local + remote

"""The TLS commands of the admin queue: flow contexts made, shown, rekeyed, paced, answered, destroyed."""

from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from tlsnic.abi.enums import (
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    Offload,
    TlsDirection,
    TlsEvent,
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
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.device.core.commands import Blocks, CommandFailed, Handlers, Pending, Result
from tlsnic.device.core.flow_block import FlowBlock, FlowBlocks, refuse
from tlsnic.device.core.parts import Parts
from tlsnic.device.core.transmit import Transmitter
from tlsnic.device.tls.cipher import make_cipher
from tlsnic.device.tls.fence import Drain, Fence
from tlsnic.device.tls.flow import RekeyFault, TxFlow
from tlsnic.device.tls.keys import KeyCache
from tlsnic.device.tls.opening import make_opener
from tlsnic.device.tls.pace import Pace
from tlsnic.device.tls.record import RecordCipher
from tlsnic.device.tls.rx_run import RxRunFlow
from tlsnic.device.tls.table import Duplicate, Flow, FlowTable, TableFull

_SWITCH: Final = {
    TlsDirection.TRANSMIT: int(Offload.TX_TLS),
    TlsDirection.RECEIVE: int(Offload.RX_TLS),
}
_FOUND: Final = (0, 1)


class FlowCommands:
    """Carries out the TLS commands on the flow table.

    `flush_receive` delivers what the receive stage holds back.
    """

    def __init__(
        self,
        parts: Parts,
        transmitter: Transmitter,
        queues: Sequence[Drain],
        flush_receive: Callable[[], None],
    ) -> None:
        self._regs = parts.regs
        self._counters = parts.counters
        self._flows: FlowTable = parts.flows
        self._journal = parts.journal
        self._transmitter = transmitter
        self._queues = queues
        self._flush_receive = flush_receive
        self._blocks = Blocks(parts)
        self._flow_blocks = FlowBlocks(parts)
        self._keys = KeyCache()
        self.handlers: Handlers = {
            CommandOpcode.TLS_FLOW_CREATE: self._create,
            CommandOpcode.TLS_FLOW_QUERY: self._query,
            CommandOpcode.TLS_FLOW_REKEY: self._rekey,
            CommandOpcode.TLS_FLOW_RATE: self._rate,
            CommandOpcode.TLS_FLOW_DESTROY: self._destroy,
            CommandOpcode.TLS_RESYNC_ANSWER: self._answer,
            CommandOpcode.TLS_RESYNC_HINT: self._hint,
        }

    # Commands

    def _create(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowCreateCommand)
        with self._flow_blocks.load(
            command.address, command.length, TlsFlowCreateCommand.OFFSET_ADDRESS
        ) as block:
            receives = block.keys.direction is TlsDirection.RECEIVE
            flow: Flow = self._make_receive(block) if receives else self._make_transmit(block)
        try:
            handle = self._flows.add(flow)
        except (Duplicate, TableFull) as refusal:
            flow.wipe()
            full = isinstance(refusal, TableFull)
            raise CommandFailed(
                CommandStatus.TABLE_FULL if full else CommandStatus.DUPLICATE
            ) from None
        self._journal.note(flow, TlsEvent.CREATED)
        if receives:
            self._counters.rx_tls_ctx += 1
        else:
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
        state = _transmit_state(flow) if isinstance(flow, TxFlow) else _receive_state(flow)
        self._blocks.store(command.address, state.pack())
        return TlsFlowState.SIZE, 0

    def _rekey(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowRekeyCommand)
        flow = self._flow(command.handle)
        with self._flow_blocks.load(
            command.address, command.length, TlsFlowRekeyCommand.OFFSET_ADDRESS
        ) as block:
            block.check_same(flow.direction, flow.format, flow.key_bytes)
            keys = block.keys
            if flow.rekey_pending:
                raise CommandFailed(CommandStatus.BUSY)
            if isinstance(flow, RxRunFlow):
                opener = make_opener(keys.record_format, block.material(), self._keys)
                flow.rekey(opener, keys.tcp_sequence, keys.record_number)
                self._note_rekey(flow, block)
                return 0, 0
            cipher = self._cipher(block)
        try:
            flow.rekey(cipher, keys.tcp_sequence, keys.record_number)
        except RekeyFault:
            cipher.wipe()
            refuse(self._blocks, CommandStatus.BAD_FIELD, TlsFlow.OFFSET_TCP_SEQUENCE)
        self._note_rekey(flow, block)
        return 0, 0

    def _rate(self, command: Structure) -> Result:
        assert isinstance(command, TlsFlowRateCommand)
        flow = self._flow(command.handle)
        if not isinstance(flow, TxFlow):
            self._refuse_handle(command.handle)
        self._set_rate(flow, command.rate_bytes_per_s)
        self._journal.note(flow, TlsEvent.RATED)
        return 0, 0

    def _destroy(self, command: Structure) -> Result | Pending:
        assert isinstance(command, TlsFlowDestroyCommand)
        flow = self._flow(command.handle)
        if isinstance(flow, RxRunFlow):
            self._flush_receive()  # what names the handle comes before the response
            flow.drop_question()
            self._remove(flow)
            self._counters.rx_tls_del += 1
            return 0, 0
        sender = flow
        sender.fence = fence = Fence(self._queues)
        self._flows.release_key(sender)
        self._set_rate(sender, 0)

        def finish() -> Result | None:
            if not fence.passed or (sender.pace is not None and sender.pace.frames):
                return None
            self._remove(sender)
            self._counters.tx_tls_del += 1
            return 0, 0

        return finish

    def _answer(self, command: Structure) -> Result:
        assert isinstance(command, TlsResyncAnswerCommand)
        flow = self._receive_flow(command.handle)
        if command.found not in _FOUND:
            refuse(self._blocks, CommandStatus.BAD_FIELD, TlsResyncAnswerCommand.OFFSET_FOUND)
        state = flow.tracker_state
        taken = flow.answer(
            command.question, command.tcp_sequence, bool(command.found), command.record_number
        )
        event = TlsEvent.ANSWERED if command.found else TlsEvent.DENIED
        self._journal.note(
            flow,
            event if taken else TlsEvent.STALE,
            tcp_sequence=command.tcp_sequence,
            record_number=command.record_number,
            question=command.question,
            old_state=state,
        )
        if not taken:
            raise CommandFailed(CommandStatus.STALE)
        return 0, 0

    def _hint(self, command: Structure) -> Result:
        assert isinstance(command, TlsResyncHintCommand)
        flow = self._receive_flow(command.handle)
        state = flow.tracker_state
        taken = flow.hint(command.tcp_sequence, command.record_number)
        self._journal.note(
            flow,
            TlsEvent.HINTED if taken else TlsEvent.STALE,
            tcp_sequence=command.tcp_sequence,
            record_number=command.record_number,
            old_state=state,
        )
        if not taken:
            raise CommandFailed(CommandStatus.STALE)
        return 0, 0

    # Inside

    def _make_transmit(self, block: FlowBlock) -> TxFlow:
        connection = block.connection()
        self._check_switch(TlsDirection.TRANSMIT)
        keys = block.keys
        flow = TxFlow(
            keys.record_format,
            self._cipher(block),
            tcp_sequence=keys.tcp_sequence,
            record_number=keys.record_number,
            address=connection.transmitted,
            vlan_id=connection.vlan_id,
        )
        if connection.rate:
            flow.pace = Pace(connection.rate)
        return flow

    def _make_receive(self, block: FlowBlock) -> RxRunFlow:
        connection = block.connection()
        self._check_switch(TlsDirection.RECEIVE)
        if not self._regs.get("OFFLOAD_ENABLE") & Offload.RX_CHECKSUM:
            raise CommandFailed(CommandStatus.DEPENDENCY)
        keys = block.keys
        return RxRunFlow(
            keys.record_format,
            make_opener(keys.record_format, block.material(), self._keys),
            tcp_sequence=keys.tcp_sequence,
            record_number=keys.record_number,
            address=connection.received,
            vlan_id=connection.vlan_id,
            resync_host=bool(keys.flags & TlsFlowFlags.RESYNC_HOST),
            resync_tag=bool(keys.flags & TlsFlowFlags.RESYNC_TAG),
            counters=self._counters,
            moved=self._journal.moved,
        )

    def _check_switch(self, direction: TlsDirection) -> None:
        if not self._regs.get("OFFLOAD_ENABLE") & _SWITCH[direction]:
            raise CommandFailed(CommandStatus.DISABLED)

    def _flow(self, handle: int) -> Flow:
        flow = self._flows.get(handle)
        if flow is None or (isinstance(flow, TxFlow) and flow.fence is not None):
            self._refuse_handle(handle)
        return flow

    def _receive_flow(self, handle: int) -> RxRunFlow:
        flow = self._flow(handle)
        if not isinstance(flow, RxRunFlow):
            self._refuse_handle(handle)
        return flow

    def _remove(self, flow: Flow) -> None:
        self._journal.note(flow, TlsEvent.DESTROYED)
        self._journal.keep(flow)
        self._flows.remove(flow)

    def _note_rekey(self, flow: Flow, block: FlowBlock) -> None:
        keys = block.keys
        self._journal.note(
            flow,
            TlsEvent.REKEYED,
            tcp_sequence=keys.tcp_sequence,
            record_number=keys.record_number,
        )

    def _refuse_handle(self, handle: int) -> NoReturn:
        self._blocks.report(Diagnostic.TLS_HANDLE, handle)
        raise CommandFailed(CommandStatus.BAD_HANDLE)

    def _set_rate(self, flow: TxFlow, rate: int) -> None:
        pacer, now_ns = self._transmitter.pacer, self._transmitter.now_ns
        if flow.pace is not None:
            pacer.set_rate(flow.pace, rate, now_ns)
            self._transmitter.poll()
            if not rate and not flow.pace.frames:
                flow.pace = None
        elif rate:
            flow.pace = Pace(rate)

    def _cipher(self, block: FlowBlock) -> RecordCipher:
        keys = block.keys
        return make_cipher(keys.record_format, block.material(), self._keys, keys.record_number)


def _transmit_state(flow: TxFlow) -> TlsFlowState:
    cursor = flow.cursor
    epoch = flow.epoch_at(cursor.start)
    assert epoch is not None
    pace = flow.pace
    return TlsFlowState(
        direction=TlsDirection.TRANSMIT,
        tcp_sequence=flow.sequence,
        record_number=flow.record_number,
        packets=flow.packets,
        payload_bytes=flow.payload_bytes,
        out_of_order=flow.out_of_order,
        not_offloaded=flow.refused,
        presynced=flow.presynced,
        rate_bytes_per_s=pace.rate if pace is not None else 0,
        record_iv=epoch.cipher.iv_of(cursor.number) or bytes(16),
    )


def _receive_state(flow: RxRunFlow) -> TlsFlowState:
    return TlsFlowState(
        direction=TlsDirection.RECEIVE,
        tracker_state=flow.tracker_state,
        tcp_sequence=flow.sequence,
        record_number=flow.record_number,
        packets=flow.packets,
        payload_bytes=flow.payload_bytes,
        out_of_order=flow.out_of_order,
        not_offloaded=flow.not_offloaded,
        questions=flow.questions,
        auth_failures=flow.auth_failures,
        host_resyncs=flow.host_resyncs,
        tag_resyncs=flow.tag_resyncs,
        record_iv=bytes(16),
    )

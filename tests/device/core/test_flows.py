"""TLS commands: what a flow block must say, handles, where keys go, rekeys, and the fence of destroy."""

import pytest
from stream_bench import CASES, Stream, case_of
from tls_rig import CBC, GCM, LOCAL, REMOTE, TlsRig, filled, held_by_card, make_frame

from tlsnic.abi import registers as r
from tlsnic.abi.enums import (
    CipherSuite,
    CommandOpcode,
    CommandStatus,
    Diagnostic,
    Offload,
    QueueState,
    TlsFlowFlags,
    TxFlags,
    TxStatus,
)
from tlsnic.abi.structures import (
    NopCommand,
    TlsFlow,
    TlsFlowCreateCommand,
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowState,
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.device.core import ResetKind
from tlsnic.device.tls.table import FlowTable

BAD, UNSUPPORTED = CommandStatus.BAD_FIELD, CommandStatus.UNSUPPORTED
V4_MAPPED = bytes(10) + b"\xff\xff"
EVERY_RESET = pytest.mark.parametrize("kind", list(ResetKind), ids=lambda kind: kind.name)


@pytest.fixture
def tls():
    return TlsRig()


def check_refused(rig, response, status, detail=0, diagnostic=None):
    assert (response.status, response.detail, response.result0) == (status, detail, 0)
    assert rig.diagnostics == ([] if diagnostic is None else [diagnostic])


# The block


@pytest.mark.parametrize(
    ("case", "fields", "status", "member"),
    [
        (GCM, {"direction": 2}, BAD, "direction"),
        (GCM, {"ip_version": 0}, BAD, "ip_version"),
        (GCM, {"ip_version": 5}, BAD, "ip_version"),
        (GCM, {"flags": TlsFlowFlags.RESYNC_HOST}, BAD, "flags"),
        (GCM, {"flags": TlsFlowFlags.RESYNC_TAG}, BAD, "flags"),
        (GCM, {"flags": TlsFlowFlags.ENCRYPT_THEN_MAC}, UNSUPPORTED, "flags"),
        (GCM, {"tls_version": 0x303}, UNSUPPORTED, "tls_version"),
        (GCM, {"tls_version": 0x305}, UNSUPPORTED, "tls_version"),
        (GCM, {"vlan_id": 1}, BAD, "vlan_id"),
        (GCM, {"flags": TlsFlowFlags.VLAN, "vlan_id": 4095}, BAD, "vlan_id"),
        (GCM, {"suite": 0}, UNSUPPORTED, "suite"),
        (GCM, {"suite": GCM.layout.suite | CipherSuite.TLS12_AES_128_GCM}, UNSUPPORTED, "suite"),
        (GCM, {"suite": 1 << 63}, UNSUPPORTED, "suite"),
        (GCM, {"suite": CipherSuite.ENCRYPT_THEN_MAC}, UNSUPPORTED, "suite"),
        (GCM, {"flags": TlsFlowFlags.RATE_LIMIT}, BAD, "rate_bytes_per_s"),
        (GCM, {"key_length": 0}, BAD, "key_length"),
        (GCM, {"key_length": 32}, BAD, "key_length"),
        (CBC, {"key_length": 24}, BAD, "key_length"),
        (GCM, {"iv_length": 4}, BAD, "iv_length"),
        (GCM, {"iv_length": 65535}, BAD, "iv_length"),
        (GCM, {"mac_key_length": 20}, BAD, "mac_key_length"),
        (CBC, {"mac_key_length": 0}, BAD, "mac_key_length"),
        (GCM, {"max_plaintext": 63}, BAD, "max_plaintext"),
        (GCM, {"max_plaintext": 16385}, BAD, "max_plaintext"),
    ],
    ids=str,
)
def test_fields_that_are_refused(tls, case, fields, status, member):
    stream = Stream(case)
    block = tls.flow_block(stream, **fields)
    response = tls.try_create(block)
    diagnostic = Diagnostic.COMMAND_FIELD if status is BAD else None
    offset = getattr(TlsFlow, f"OFFSET_{member.upper()}")
    check_refused(tls, response, status, offset, diagnostic)
    assert len(tls.nic.flows) == 0
    assert not held_by_card(tls, *filter(None, stream.keys))


def test_reserved_bits_of_the_block(tls):
    reserved = [bit for bit in range(TlsFlow.SIZE * 8) if TlsFlow.RESERVED >> bit & 1]
    assert reserved
    stream = Stream(GCM)
    for bit in reserved:
        block = bytearray(tls.flow_block(stream).pack())
        block[bit // 8] |= 1 << bit % 8
        assert tls.try_create(bytes(block)).status == CommandStatus.RESERVED_BITS
    assert tls.diagnostics == [Diagnostic.COMMAND_RESERVED] * len(reserved)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_suite_that_is_listed(tls, case):
    response = tls.try_create(tls.flow_block(Stream(case)))
    offered = case.layout.version == 0x0303 or not case.encrypt_then_mac
    assert response.status == (CommandStatus.OK if offered else UNSUPPORTED)
    assert tls.read(r.CAP_TLS_TX, 8) & case.layout.suite


@pytest.mark.parametrize("limit", [0, 64, 16384])
def test_record_sizes_keep_to_max_plaintext(limit):
    rig, stream, handle = filled(GCM, (limit or 16384,), fields={"max_plaintext": limit})
    assert rig.send_part(handle, stream, 0, len(stream), mss=1448).status == 0
    end = len(stream)
    if limit == 64:
        stream.add(65)
        done = rig.send_part(handle, stream, end, len(stream))
        assert (done.status, done.detail) == (TxStatus.TLS_DROPPED, Diagnostic.TLS_RECORD)


def test_the_block_in_memory(tls):
    stream = Stream(GCM)
    data = tls.flow_block(stream).pack()
    create = lambda address, length=176: tls.command(  # noqa: E731
        TlsFlowCreateCommand(address=address, length=length)
    )
    check_refused(tls, create(tls.place(data), 175), CommandStatus.TOO_SHORT, 176,
                  Diagnostic.COMMAND_FIELD)  # fmt: skip
    tls.nic.diagnostics.clear()
    check_refused(tls, create(tls.place(data) + 4), BAD, 8, Diagnostic.COMMAND_FIELD)
    tls.nic.diagnostics.clear()
    check_refused(tls, create(0xDEAD_0000), CommandStatus.DMA_FAULT, 0, Diagnostic.DMA_FAULT)
    tls.nic.diagnostics.clear()
    tls.host.add_map(0x5000_0000, 96)
    tls.host.write(0x5000_0000, data[:96])
    check_refused(tls, create(0x5000_0000), CommandStatus.DMA_FAULT, 0, Diagnostic.DMA_FAULT)
    tls.host.add_map(0x5000_0060, 80)
    tls.host.write(0x5000_0000, data)
    handle = create(0x5000_0000, 4096).result0
    stream.add(500)
    tls.host.write(0x5000_0000, bytes(176))  # as drivers must
    tls.send_part(handle, stream, 0, len(stream))
    assert tls.arrived() == stream.wire


def test_flows_need_the_switch(tls):
    stream = Stream(GCM)
    handle = tls.create(stream)
    tls.write(r.OFFLOAD_ENABLE, 0)
    other = Stream(GCM, seed=1)
    response = tls.try_create(tls.flow_block(other, local_port=1))
    check_refused(tls, response, CommandStatus.DISABLED)
    assert not held_by_card(tls, other.keys[0])
    stream.add(50)
    tls.send_part(handle, stream, 0, len(stream))
    assert tls.arrived() == stream.wire
    tls.write(r.OFFLOAD_ENABLE, Offload.TX_TLS)
    assert tls.try_create(tls.flow_block(other, local_port=1)).status == 0


def test_commands_of_receive_flows_are_not_for_transmit_flows(tls):
    handle = tls.create(Stream(GCM))
    for command in (TlsResyncAnswerCommand(handle=handle), TlsResyncHintCommand(handle=handle)):
        check_refused(tls, tls.command(command), CommandStatus.BAD_HANDLE, 0, Diagnostic.TLS_HANDLE)
        tls.nic.diagnostics.clear()


# The table


def test_one_flow_for_each_connection(tls):
    stream = Stream(GCM)
    make = lambda **fields: tls.try_create(tls.flow_block(stream, **fields)).status  # noqa: E731
    different = [
        {}, {"local_port": 1}, {"remote_port": 1}, {"local_address": b"\x0a\x00\x00\x09" * 4},
        {"remote_address": b"\x0a\x00\x00\x09" * 4}, {"ip_version": 6},
        {"flags": TlsFlowFlags.VLAN}, {"flags": TlsFlowFlags.VLAN, "vlan_id": 5},
        {"ip_version": 6, "local_address": V4_MAPPED + LOCAL[4]},
    ]  # fmt: skip
    assert [make(**fields) for fields in different] == [0] * len(different)
    same = [
        *different,
        {"local_address": LOCAL[4] + b"?" * 12},  # only four bytes are looked at
        {"ip_version": 6, "local_address": V4_MAPPED + LOCAL[4],
         "remote_address": V4_MAPPED + REMOTE[4]},
    ]  # fmt: skip
    assert [make(**fields) for fields in same] == [CommandStatus.DUPLICATE] * len(same)
    assert tls.counter("TX_TLS_CTX") == len(different)
    assert tls.diagnostics == []


def test_v4_mapped_addresses_are_ipv4_on_the_wire(tls):
    stream = Stream(GCM)
    handle = tls.try_create(
        tls.flow_block(stream, ip_version=6, local_address=V4_MAPPED + LOCAL[4],
                       remote_address=V4_MAPPED + REMOTE[4])
    ).result0  # fmt: skip
    stream.add(50)
    assert tls.send_part(handle, stream, 0, len(stream)).status == 0
    assert tls.arrived() == stream.wire


def test_table_full(tls):
    tls.nic.flows.contexts = 3
    stream = Stream(GCM)
    handles = [tls.create(stream, local_port=port) for port in (1, 2, 3)]
    late = Stream(GCM, seed=9)
    check_refused(tls, tls.try_create(tls.flow_block(late)), CommandStatus.TABLE_FULL)
    assert not held_by_card(tls, late.keys[0])
    assert tls.try_create(tls.flow_block(stream, local_port=2)).status == CommandStatus.DUPLICATE
    seen = set(handles)
    for _ in range(8):
        assert tls.destroy(handles.pop(0)).status == 0
        handles.append(tls.create(stream, local_port=100 + len(seen)))
        assert handles[-1] not in seen
        seen.add(handles[-1])
    late.add(10)
    assert len(tls.nic.flows) == 3
    assert (tls.counter("TX_TLS_CTX"), tls.counter("TX_TLS_DEL")) == (11, 8)


def test_handles_that_are_none(tls):
    stream = Stream(GCM)
    handle = tls.create(stream)
    gone = tls.create(stream, local_port=1)
    tls.destroy(gone)
    wrong = [0, 1, gone, handle + 1, handle + (1 << 18), handle ^ 1 << 31, 0xFFFFFFFF]
    for value in wrong:
        assert tls.query(value)[0] == CommandStatus.BAD_HANDLE
        assert tls.destroy(value).status == CommandStatus.BAD_HANDLE
        assert tls.rate(value, 1).status == CommandStatus.BAD_HANDLE
        assert tls.rekey(value, stream).status == CommandStatus.BAD_HANDLE
    assert tls.diagnostics == [Diagnostic.TLS_HANDLE] * 4 * len(wrong)
    assert tls.query(handle)[0] == 0


@EVERY_RESET
def test_handles_from_before_a_reset_stay_stale(kind):
    rig, stream, handle = filled()
    rig.nic.reset(kind)
    rig.up()
    fresh = rig.create(Stream(GCM))
    assert fresh != handle
    assert rig.query(handle)[0] == CommandStatus.BAD_HANDLE
    done = rig.send_part(handle, stream, 0, 500)
    assert (done.status, done.detail) == (TxStatus.TLS_DROPPED, Diagnostic.TLS_DESTROYED)
    assert not rig.sent


def test_table_refuses_what_handles_have_no_room_for():
    for contexts in (0, (1 << 18) + 1):
        with pytest.raises(ValueError, match="flow contexts"):
            FlowTable(contexts)


# Keys


def materials(rig):
    """The bytearrays with the keys of all flows."""
    return [
        getattr(epoch.cipher._keys, name)
        for flow in rig.nic.flows
        for epoch in flow.epochs
        for name in ("key", "iv", "mac_key")
    ]


def check_gone(rig, kept, *streams):
    """The keys were overwritten where they were, and nothing that can be reached has them."""
    assert kept
    assert not any(map(any, kept))
    secrets = [secret for stream in streams for secret in stream.keys if secret]
    assert not held_by_card(rig, *secrets)


def two_flows():
    """Two flows that have sent whole records and a part of one."""
    rig = TlsRig()
    streams = Stream(GCM), Stream(CBC, seed=1)
    for port, stream in enumerate(streams, 1):
        handle = rig.create(stream, local_port=port)
        for size in (100, 500, 500):
            stream.add(size)
        rig.send_part(handle, stream, 0, len(stream) - 48, local_port=port, mss=300)
    return rig, streams


def test_the_search_for_keys_finds_them():
    rig, streams = two_flows()
    assert held_by_card(rig, *streams[0].keys[:2])
    assert held_by_card(rig, streams[1].keys[2])
    assert all(map(any, filter(None, materials(rig))))


@EVERY_RESET
def test_reset_wipes_the_keys(kind):
    rig, streams = two_flows()
    kept = materials(rig)
    rig.nic.reset(kind)
    check_gone(rig, kept, *streams)


def test_reset_by_register_wipes_the_keys():
    rig, streams = two_flows()
    kept = materials(rig)
    rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
    check_gone(rig, kept, *streams)


def test_destroy_wipes_the_keys():
    rig, streams = two_flows()
    kept = materials(rig)
    for flow in list(rig.nic.flows):
        assert rig.destroy(flow.handle).status == 0
    del flow
    check_gone(rig, kept, *streams)


def test_rekey_wipes_the_key_before_the_last():
    rig, stream, handle = filled()
    kept = materials(rig)
    rig.send_part(handle, stream, 0, len(stream), mss=1448)
    old = Stream(GCM)
    for seed in (1, 2):
        stream.rekey(seed)
        assert rig.rekey(handle, stream).status == 0
    check_gone(rig, kept, old)


def test_query_and_diagnostics_show_no_keys():
    rig, streams = two_flows()
    before = bytes(rig.host.maps[0][0])
    for flow in list(rig.nic.flows):
        address = rig.place(bytes(TlsFlowState.SIZE))
        rig.command(
            TlsFlowQueryCommand(address=address, length=TlsFlowState.SIZE, handle=flow.handle)
        )
        shown = (
            rig.host.read(address, TlsFlowState.SIZE)
            + repr(flow).encode()
            + repr(flow.epochs).encode()
        )
        for stream in streams:
            for secret in filter(None, stream.keys):
                assert secret not in shown
                assert secret.hex().encode() not in shown
    assert before.count(streams[0].keys[0]) == bytes(rig.host.maps[0][0]).count(streams[0].keys[0])


def test_query_of_tls_1_0_gives_the_next_iv():
    """It is on the wire: the last block of the record before. But never the secret first one."""
    rig, stream, handle = filled(case_of("TLS10_AES_CBC_SHA1", 16))
    rig.send_part(handle, stream, 0, stream.records[1].start)
    assert rig.query(handle)[1].record_iv == stream.wire[: stream.records[1].start][-16:]


def test_query_block(tls):
    handle = tls.create(Stream(GCM))
    ask = lambda address, length: tls.command(  # noqa: E731
        TlsFlowQueryCommand(address=address, length=length, handle=handle)
    )
    assert (
        ask(tls.place(bytes(TlsFlowState.SIZE)), TlsFlowState.SIZE - 1).status
        == CommandStatus.TOO_SHORT
    )
    assert ask(tls.place(bytes(TlsFlowState.SIZE)) + 1, TlsFlowState.SIZE).status == BAD
    assert ask(0xDEAD_0000, TlsFlowState.SIZE).status == CommandStatus.DMA_FAULT
    tls.host.add_map(0x6000_0000, 4096, writable=False)
    assert ask(0x6000_0000, TlsFlowState.SIZE).status == CommandStatus.DMA_FAULT
    assert tls.diagnostics[-1] is Diagnostic.DMA_PERMISSION
    response = ask(tls.place(bytes(TlsFlowState.SIZE)), 4096)
    assert (response.status, response.result0) == (0, TlsFlowState.SIZE)


# Rekey


def test_rekey_takes_effect_at_its_number():
    rig, stream, handle = filled()
    change = len(stream)
    stream.rekey(1, number=3)
    assert rig.rekey(handle, stream).status == 0
    assert rig.rekey(handle, stream).status == CommandStatus.BUSY
    for size in (300, 2000):
        stream.add(size)
    rig.send_part(handle, stream, 0, change - 10, mss=1448)
    assert rig.rekey(handle, stream).status == CommandStatus.BUSY
    rig.send_part(handle, stream, change - 10, change + 10)
    assert rig.arrived() == stream.wire[: change + 10]
    for begin in (change - 100, change + 100):
        rig.send_part(handle, stream, begin, begin + 90, presync=True)
        assert rig.arrived() == stream.wire[begin : begin + 90]
    assert rig.diagnostics == []


@pytest.mark.parametrize("case", [GCM, CBC], ids=lambda case: case.id)
@pytest.mark.parametrize(
    ("fields", "status", "member"),
    [
        ({"direction": 1, "suite": GCM.layout.suite, "tls_version": 0x304, "key_length": 16,
          "iv_length": 12, "mac_key_length": 0}, BAD, "direction"),
        ({"suite": CipherSuite.TLS12_AES_256_GCM, "tls_version": 0x303, "key_length": 32,
          "iv_length": 4, "mac_key_length": 0}, BAD, "suite"),
        ({"max_plaintext": 5000}, BAD, "max_plaintext"),
        ({"key_length": 32}, BAD, "key_length"),
        ({"tcp_sequence": 1099}, BAD, "tcp_sequence"),
        ({"tcp_sequence": 999}, BAD, "tcp_sequence"),
    ],
    ids=str,
)  # fmt: skip
def test_rekeys_that_are_refused(case, fields, status, member):
    rig, stream, handle = filled(case)
    rig.send_part(handle, stream, 0, 100)
    stream.rekey(1)
    response = rig.rekey(handle, stream, **fields)
    offset = getattr(TlsFlow, f"OFFSET_{member.upper()}")
    assert (response.status, response.detail) == (status, offset)
    assert not held_by_card(rig, *filter(None, stream.keys))
    rig.send_part(handle, stream, 100, 300)
    assert rig.arrived() == stream.wire[:300]


def test_rekey_must_keep_encrypt_then_mac():
    rig, stream, handle = filled(CBC)
    response = rig.rekey(handle, stream, flags=TlsFlowFlags.ENCRYPT_THEN_MAC)
    assert (response.status, response.detail) == (BAD, TlsFlow.OFFSET_FLAGS)


# Destroy


def responses(rig):
    return [(response.opcode, response.status) for response in rig.commands.reap()]


DESTROYED = (CommandOpcode.TLS_FLOW_DESTROY, 0)
ANSWERED = (CommandOpcode.NOP, 0)


def destroying(**options):
    """A flow with a packet that the wire does not take, and its destroy command behind it."""
    rig, stream, handle = filled(**options)
    rig.wire.blocked = True
    rig.post_part(handle, stream, 0, 1000)
    rig.post_part(handle, stream, 1000, 2000)
    rig.post_command(TlsFlowDestroyCommand(handle=handle))
    assert responses(rig) == []
    return rig, stream, handle


def unblock(rig):
    rig.wire.blocked = False
    rig.nic.wire_writable(rig.now_ns)
    rig.run()


def test_destroy_waits_for_what_was_posted_before():
    rig, stream, handle = destroying()
    kept = materials(rig)
    rig.post_command(NopCommand())
    assert responses(rig) == [ANSWERED]
    assert rig.query(handle)[0] == CommandStatus.BAD_HANDLE
    assert all(map(any, filter(None, kept)))
    unblock(rig)
    assert responses(rig) == [DESTROYED]
    assert rig.arrived() == stream.wire[:2000]
    check_gone(rig, kept, stream)
    assert [done.status for done in rig.queue.reap()] == [0, 0]
    done = rig.send_part(handle, stream, 2000, 2100)
    assert (done.status, done.detail) == (TxStatus.TLS_DROPPED, Diagnostic.TLS_DESTROYED)


def test_packets_posted_after_destroy_are_dropped():
    rig, stream, handle = destroying()
    other = rig.tx(1)
    other.enable()
    rig.post_part(handle, stream, 2000, 2100)
    rig.post_part(handle, stream, 2100, 2200, queue=other)
    unblock(rig)
    assert rig.arrived() == stream.wire[:2000]
    statuses = [(done.status, done.detail) for done in rig.queue.reap()]
    dropped = (TxStatus.TLS_DROPPED, Diagnostic.TLS_DESTROYED)
    assert statuses == [(0, 0), (0, 0), dropped]
    assert [(done.status, done.detail) for done in other.reap()] == [dropped]
    assert responses(rig) == [DESTROYED]


def test_the_connection_is_free_while_its_old_flow_is_destroyed():
    rig, _, _ = destroying()
    fresh = Stream(GCM, seed=4)
    handle = rig.create(fresh)
    unblock(rig)
    assert responses(rig) == [DESTROYED]
    rig.arrived()
    fresh.add(100)
    assert rig.try_create(rig.flow_block(fresh)).status == CommandStatus.DUPLICATE
    rig.queue.reap()
    rig.send_part(handle, fresh, 0, len(fresh))
    assert rig.arrived() == fresh.wire


def test_destroy_with_the_admin_queue_disabled_meanwhile():
    rig, stream, _ = destroying()
    kept = materials(rig)
    rig.commands.disable()
    unblock(rig)
    check_gone(rig, kept, stream)
    assert len(rig.nic.flows) == 0
    rig.commands.enable(vector=1)
    assert rig.command(NopCommand()).status == 0


@EVERY_RESET
def test_destroy_with_a_reset_meanwhile(kind):
    rig, stream, _ = destroying()
    kept = materials(rig)
    rig.nic.reset(kind)
    check_gone(rig, kept, stream)
    unblock(rig)
    assert not rig.sent
    rig.up()
    assert rig.command(NopCommand()).status == 0
    assert rig.create(Stream(GCM))


def test_destroy_with_the_queue_stopped_meanwhile():
    rig, _, _ = destroying()
    rig.queue.disable()
    rig.run()
    assert responses(rig) == [DESTROYED]
    unblock(rig)
    assert not rig.sent


def test_destroy_with_the_link_down_meanwhile():
    rig, _, _ = destroying()
    rig.nic.set_link(False)
    rig.run()
    assert responses(rig) == [DESTROYED]
    assert [done.status for done in rig.queue.reap()] == [TxStatus.LINK_DOWN] * 2


def test_destroy_sends_what_a_rate_limit_holds_back():
    rig, stream, handle = filled(sizes=(9000, 9000), rate=1000)
    for begin in range(0, 18000, 1000):
        rig.post_part(handle, stream, begin, begin + 1000)
    rig.run()
    assert len(rig.sent) < 3
    rig.post_command(TlsFlowDestroyCommand(handle=handle))
    assert responses(rig) == [DESTROYED]
    assert rig.arrived() == stream.wire[:18000]
    assert rig.counter("TX_SENT_PACKETS") == 18


def test_destroy_waits_until_the_wire_has_what_was_held_back():
    rig, stream, handle = filled(sizes=(9000, 9000), rate=1000)
    for begin in range(0, 18000, 1000):
        rig.post_part(handle, stream, begin, begin + 1000)
    rig.run()
    rig.wire.blocked = True
    rig.post_command(TlsFlowDestroyCommand(handle=handle))
    assert responses(rig) == []
    rig.run(after_ns=10**12)
    assert responses(rig) == []
    unblock(rig)
    assert responses(rig) == [DESTROYED]
    assert rig.arrived() == stream.wire[:18000]


def test_a_late_response_waits_for_bus_mastering():
    rig, stream, handle = filled(sizes=(9000,), rate=1000)
    for begin in range(0, 9000, 1000):
        rig.post_part(handle, stream, begin, begin + 1000)
    rig.run()
    rig.wire.blocked = True
    rig.post_command(TlsFlowDestroyCommand(handle=handle))
    rig.host.bus_master = False
    rig.nic.set_link(False)
    rig.run()
    assert len(rig.sent) == 1
    assert responses(rig) == []
    rig.host.bus_master = True
    rig.run()
    assert responses(rig) == [DESTROYED]


def test_destroy_of_an_idle_flow_does_not_wait_for_others():
    rig, stream, handle = filled()
    idle = rig.create(Stream(GCM, seed=1), local_port=1)
    rig.send_part(handle, stream, 0, 100)
    assert rig.destroy(idle).status == 0
    rig.send(rig.queue, make_frame(1, b""), TxFlags.L4_CHECKSUM)
    rig.queue.ring_doorbell()
    rig.run()
    assert rig.queue.reap()[0].status == 0


def test_a_queue_that_was_stopped_has_nothing_from_before_the_fence():
    """What it is given in its next life was posted later, in as many descriptors as may be."""
    rig, stream, handle = filled()
    other = rig.tx(1)
    other.enable()
    rig.write(r.CONTROL, r.CONTROL_RX_ENABLE_MASK)
    rig.post_part(handle, stream, 0, 1000)
    rig.post_part(handle, stream, 1000, 2000, queue=other, pieces=6)
    rig.post_command(TlsFlowDestroyCommand(handle=handle))
    assert responses(rig) == []
    other.disable()
    other.enable()
    rig.post_part(handle, stream, 1000, 2000, queue=other)
    rig.start()
    rig.run()
    assert rig.arrived() == stream.wire[:1000]
    assert [done.detail for done in other.reap()] == [Diagnostic.TLS_DESTROYED]
    assert responses(rig) == [DESTROYED]


def test_a_queue_in_error_does_not_hold_up_the_fence():
    """Neither what it had when it stopped, nor what it had when it had stopped already."""
    for stopped_first in (False, True):
        rig, stream, handle = filled()
        rig.write(r.CONTROL, r.CONTROL_RX_ENABLE_MASK)
        rig.post_part(handle, stream, 0, 1000)
        if stopped_first:
            rig.doorbell(rig.queue.doorbell, rig.queue.entries)
        rig.post_command(TlsFlowDestroyCommand(handle=handle))
        if not stopped_first:
            assert responses(rig) == []
            rig.doorbell(rig.queue.doorbell, rig.queue.entries)
            rig.run()
        assert rig.queue.state is QueueState.ERROR
        assert responses(rig) == [DESTROYED]
        assert not rig.sent

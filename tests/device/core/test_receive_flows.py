"""TLS commands about receive flows: what a block must say, the table, answers, hints, rekeys, keys."""

import pytest
from receive_rig import (
    AS_ON_WIRE,
    AUTH_FAILED,
    DECRYPTED,
    ReceiveRig,
    begun,
    frame_of,
    make_packet,
    stream_of,
)
from stream_bench import CASES, Stream, case_of
from tls_rig import CBC, GCM, LOCAL, LOCAL_PORT, REMOTE, held_by_card
from tracker_bench import AEAD, GCM12, GCM13, Wire

from tlsnic.abi import registers as r
from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Diagnostic,
    Offload,
    TlsDirection,
    TlsFlowFlags,
    TlsTrackerState,
    TxStatus,
)
from tlsnic.abi.structures import TlsFlow, TlsFlowState, TlsResyncAnswerCommand
from tlsnic.device.core import ResetKind

BAD, UNSUPPORTED = CommandStatus.BAD_FIELD, CommandStatus.UNSUPPORTED
STALE, DUPLICATE = CommandStatus.STALE, CommandStatus.DUPLICATE
V4_MAPPED = bytes(10) + b"\xff\xff"
OFFLOAD, SEARCH, TRACK, HALTED = list(TlsTrackerState)[1:]
EVERY_RESET = pytest.mark.parametrize("kind", list(ResetKind), ids=lambda kind: kind.name)


@pytest.fixture
def tls():
    return ReceiveRig()


def check_refused(rig, response, status, detail=0, diagnostic=None):
    assert (response.status, response.detail, response.result0) == (status, detail, 0)
    assert rig.diagnostics == ([] if diagnostic is None else [diagnostic])


# The block


@pytest.mark.parametrize(
    ("case", "fields", "status", "member"),
    [
        (GCM, {"ip_version": 0}, BAD, "ip_version"),
        (GCM, {"ip_version": 5}, BAD, "ip_version"),
        (GCM, {"flags": TlsFlowFlags.ENCRYPT_THEN_MAC}, BAD, "flags"),
        (GCM, {"flags": TlsFlowFlags.RATE_LIMIT, "rate_bytes_per_s": 1}, BAD, "flags"),
        (GCM, {"tls_version": 0x303}, UNSUPPORTED, "tls_version"),
        (GCM12, {"tls_version": 0x302}, UNSUPPORTED, "tls_version"),
        (GCM, {"vlan_id": 1}, BAD, "vlan_id"),
        (GCM, {"vlan": 4095}, BAD, "vlan_id"),
        (GCM, {"suite": 0}, UNSUPPORTED, "suite"),
        (GCM, {"suite": GCM.layout.suite | CipherSuite.TLS12_AES_128_GCM}, UNSUPPORTED, "suite"),
        (GCM, {"suite": 1 << 63}, UNSUPPORTED, "suite"),
        (GCM, {"key_length": 0}, BAD, "key_length"),
        (GCM, {"key_length": 32}, BAD, "key_length"),
        (GCM, {"iv_length": 4}, BAD, "iv_length"),
        (GCM12, {"iv_length": 12}, BAD, "iv_length"),
        (GCM, {"mac_key_length": 20}, BAD, "mac_key_length"),
        (GCM, {"max_plaintext": 63}, BAD, "max_plaintext"),
        (GCM, {"max_plaintext": 16385}, BAD, "max_plaintext"),
        (CBC, {"flags": TlsFlowFlags.RESYNC_HOST}, UNSUPPORTED, "suite"),
    ],
    ids=str,
)
def test_fields_that_are_refused(tls, case, fields, status, member):
    wire = Wire(case)
    response = tls.try_create(tls.block_of(wire, **fields))
    diagnostic = Diagnostic.COMMAND_FIELD if status is BAD else None
    offset = getattr(TlsFlow, f"OFFSET_{member.upper()}")
    check_refused(tls, response, status, offset, diagnostic)
    assert len(tls.nic.flows) == 0
    assert tls.counter("RX_TLS_CTX") == 0
    assert not held_by_card(tls, *filter(None, wire.keys))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_suites_that_are_listed_and_no_others(tls, case):
    offered = not case.is_cbc
    assert bool(tls.read(r.CAP_TLS_RX, 8) & case.layout.suite) == offered
    response = tls.try_create(tls.block_of(Stream(case)))
    detail = 0 if offered else TlsFlow.OFFSET_SUITE
    status = CommandStatus.OK if offered else UNSUPPORTED
    assert (response.status, response.detail) == (status, detail)


def test_reserved_bits_of_the_block(tls):
    reserved = [bit for bit in range(TlsFlow.SIZE * 8) if TlsFlow.RESERVED >> bit & 1]
    for bit in reserved:
        block = bytearray(tls.block_of(Wire()).pack())
        block[bit // 8] |= 1 << bit % 8
        assert tls.try_create(bytes(block)).status == CommandStatus.RESERVED_BITS
    assert tls.diagnostics == [Diagnostic.COMMAND_RESERVED] * len(reserved)


@pytest.mark.parametrize(
    ("offloads", "receive", "transmit"),
    [
        (0, CommandStatus.DISABLED, CommandStatus.DISABLED),
        (Offload.RX_CHECKSUM, CommandStatus.DISABLED, CommandStatus.DISABLED),
        (Offload.TX_TLS | Offload.RX_CHECKSUM, CommandStatus.DISABLED, 0),
        (Offload.RX_TLS, CommandStatus.DEPENDENCY, CommandStatus.DISABLED),
        (Offload.RX_TLS | Offload.TX_TLS, CommandStatus.DEPENDENCY, 0),
        (Offload.RX_TLS | Offload.RX_CHECKSUM, 0, CommandStatus.DISABLED),
    ],
    ids=str,
)
def test_switches(tls, offloads, receive, transmit):
    tls.write(r.OFFLOAD_ENABLE, offloads)
    tls.nic.diagnostics.clear()
    wire = Wire()
    assert tls.try_create(tls.block_of(wire)).status == receive
    assert tls.try_create(tls.flow_block(wire)).status == transmit
    assert tls.diagnostics == []
    assert bool(held_by_card(tls, wire.keys[0])) == (0 in (receive, transmit))


def test_receive_tls_without_checksums_is_told(tls):
    tls.write(r.OFFLOAD_ENABLE, Offload.RX_TLS)
    assert tls.diagnostics == [Diagnostic.OFFLOAD_DEPENDENCY]


@pytest.mark.parametrize("limit", [0, 64, 16384])
def test_record_sizes_keep_to_max_plaintext(limit):
    rig, wire, handle = begun(limit or 16384, fields={"max_plaintext": limit})
    assert set(rig.feed(wire)) == {DECRYPTED}
    begin = len(wire)
    if limit == 64:
        wire.add(65)
        assert rig.feed(wire, begin) == [AS_ON_WIRE]
        assert rig.state_of(handle).tracker_state == SEARCH


# The table


def test_both_directions_of_a_connection_side_by_side(tls):
    inbound, outbound = stream_of(500, seed=1), Stream(GCM, seed=2)
    received = tls.try_create(tls.block_of(stream_of(seed=1))).result0
    sent = tls.create(outbound)
    assert tls.try_create(tls.block_of(inbound)).status == DUPLICATE
    assert tls.try_create(tls.flow_block(outbound)).status == DUPLICATE
    outbound.add(400)
    assert tls.send_part(sent, outbound, 0, len(outbound)).status == 0
    assert tls.arrived() == outbound.wire
    assert tls.feed(inbound) == [DECRYPTED]
    assert tls.state_of(received).direction == TlsDirection.RECEIVE
    assert tls.state_of(sent).direction == TlsDirection.TRANSMIT
    names = ("RX_TLS_CTX", "RX_TLS_DEL", "TX_TLS_CTX", "TX_TLS_DEL")
    assert [tls.counter(name) for name in names] == [1, 0, 1, 0]
    assert tls.destroy(received).status == 0
    begin = len(outbound)
    outbound.add(300)
    assert tls.send_part(sent, outbound, begin, len(outbound)).status == 0
    assert tls.arrived() == outbound.wire[begin:]
    received = tls.receive_flow(stream_of(seed=1))
    assert tls.destroy(sent).status == 0
    assert tls.feed(inbound) == [DECRYPTED]
    assert [tls.counter(name) for name in names] == [2, 1, 1, 1]


def test_one_receive_flow_for_each_connection(tls):
    wire = Wire()
    make = lambda **fields: tls.try_create(tls.block_of(wire, **fields)).status  # noqa: E731
    different = [
        {}, {"local_port": 1}, {"remote_port": 1}, {"local_address": b"\x0a\x00\x00\x09" * 4},
        {"remote_address": b"\x0a\x00\x00\x09" * 4}, {"ip_version": 6}, {"vlan": 0}, {"vlan": 5},
        {"ip_version": 6, "local_address": V4_MAPPED + LOCAL[4]},
    ]  # fmt: skip
    assert [make(**fields) for fields in different] == [0] * len(different)
    same = [
        *different,
        {"tag": True}, {"host": False}, {"tcp_sequence": 5, "record_number": 5},
        {"local_address": LOCAL[4] + b"?" * 12},
        {"ip_version": 6, "local_address": V4_MAPPED + LOCAL[4],
         "remote_address": V4_MAPPED + REMOTE[4]},
    ]  # fmt: skip
    assert [make(**fields) for fields in same] == [DUPLICATE] * len(same)
    assert tls.counter("RX_TLS_CTX") == len(different)


def test_both_directions_share_the_table(tls):
    tls.nic.flows.contexts = 2
    wire = stream_of(300, 300)
    kept = tls.try_create(tls.block_of(Wire())).result0
    sent = tls.create(Stream(GCM))
    late = Wire(seed=9)
    response = tls.try_create(tls.block_of(late, local_port=1))
    check_refused(tls, response, CommandStatus.TABLE_FULL)
    assert not held_by_card(tls, late.keys[0])
    assert tls.feed(wire, 0, 400, 100) == [DECRYPTED] * 4
    tls.destroy(sent)
    assert tls.receive_flow(late, local_port=1) not in (kept, sent)
    assert set(tls.feed(wire, 400)) == {DECRYPTED}


def test_handles_that_are_none(tls):
    wire = Wire()
    handle = tls.receive_flow(wire)
    gone = tls.receive_flow(wire, local_port=1)
    sent = tls.create(Stream(GCM))
    tls.destroy(gone)
    wrong = [0, 1, gone, handle + 1, handle + (1 << 18), handle ^ 1 << 31, 0xFFFFFFFF]
    fields = {"flags": TlsFlowFlags.RESYNC_HOST, "direction": 1}
    for value in wrong:
        assert tls.query(value)[0] == CommandStatus.BAD_HANDLE
        assert tls.destroy(value).status == CommandStatus.BAD_HANDLE
        assert tls.rekey(value, wire, **fields).status == CommandStatus.BAD_HANDLE
    for value in (*wrong, sent):
        answer = TlsResyncAnswerCommand(handle=value, tcp_sequence=1000)
        assert tls.command(answer).status == CommandStatus.BAD_HANDLE
        assert tls.hint(value, 1000, 0).status == CommandStatus.BAD_HANDLE
    assert tls.rate(handle, 1).status == CommandStatus.BAD_HANDLE
    assert set(tls.diagnostics) == {Diagnostic.TLS_HANDLE}
    assert tls.query(handle)[0] == 0


def test_packets_are_not_sent_with_the_handle_of_a_receive_flow(tls):
    handle = tls.receive_flow(Wire())
    stream = Stream(GCM)
    stream.add(500)
    done = tls.send_part(handle, stream, 0, 300)
    assert (done.status, done.detail) == (TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE)
    assert not tls.sent


# Query


def test_query_of_a_flow_that_has_seen_nothing(tls):
    wire = Wire(number=77, sequence=0xFFFF_FF00)
    state = tls.state_of(tls.receive_flow(wire))
    assert state == TlsFlowState(
        direction=TlsDirection.RECEIVE, tracker_state=OFFLOAD, tcp_sequence=0xFFFF_FF00,
        record_number=77, record_iv=bytes(16),
    )  # fmt: skip


def test_query_counts_what_passed():
    rig, wire, handle = begun(1000, 1000, 1000, number=5)
    rig.take(wire, 0, 500)
    rig.take(wire, 0, 500)
    rig.take(wire, 500, 700)
    rig.receive(frame_of(wire, 700, 900, bad_tcp=True))
    rig.receive(make_packet(wire.sequence_at(700), b""))
    rig.packets()
    state = rig.state_of(handle)
    assert (state.tcp_sequence, state.record_number) == (wire.sequence_at(700), 5)
    assert (state.packets, state.payload_bytes) == (2, 700)
    assert (state.out_of_order, state.not_offloaded) == (1, 2)
    rig.take(wire, 1500, 2500)
    event = rig.question()
    assert rig.state_of(handle).tracker_state == TRACK
    assert rig.answer(event, wire).status == 0
    state = rig.state_of(handle)
    assert (state.tracker_state, state.record_number) == (OFFLOAD, 7)
    assert (state.questions, state.host_resyncs, state.tag_resyncs) == (1, 1, 0)
    rig.take(wire, 2500, len(wire))
    begin = len(wire)
    wire.add(100)
    wire.wire[-1] ^= 1
    assert rig.take(wire, begin, len(wire)).state is AUTH_FAILED
    state = rig.state_of(handle)
    assert (state.tracker_state, state.auth_failures) == (HALTED, 1)
    assert rig.counter("RX_TLS_ERR") == 1


# Answers and hints


def tracking():
    """A flow that has asked: rig, wire, handle, event. The candidate is the third record."""
    rig, wire, handle = begun(1000, 1000, 1000, 1000, 1000)
    rig.take(wire, 0, 100)
    packet = rig.take(wire, wire.records[2].start - 10, wire.records[2].start + 500)
    assert packet.asks
    return rig, wire, handle, rig.question()


@pytest.mark.parametrize(
    ("fields", "status", "member"),
    [
        ({"found": 2}, BAD, "found"),
        ({"found": 255}, BAD, "found"),
        ({"question": 2}, STALE, None),
        ({"question": 0}, STALE, None),
        ({"tcp_sequence": 1000}, STALE, None),
        ({"handle": 0}, CommandStatus.BAD_HANDLE, None),
    ],
    ids=str,
)
def test_answers_that_are_refused_change_nothing(fields, status, member):
    rig, wire, handle, event = tracking()
    response = rig.answer(event, wire, **fields)
    detail = 0 if member is None else TlsResyncAnswerCommand.OFFSET_FOUND
    assert (response.status, response.detail) == (status, detail)
    assert rig.state_of(handle).tracker_state == TRACK
    assert rig.counter("RX_TLS_RESYNC_RES_SKIP") == (status == STALE)
    assert rig.answer(event, wire).status == 0
    assert rig.answer(event, wire).status == STALE
    assert rig.counter("RX_TLS_RESYNC_RES_OK") == 1


def test_answer_that_there_is_none():
    rig, _, handle, event = tracking()
    assert rig.answer(event).status == 0
    assert rig.state_of(handle).tracker_state == SEARCH
    assert rig.counter("RX_TLS_RESYNC_REQ_END") == 1
    assert (rig.counter("RX_TLS_RESYNC_RES_OK"), rig.counter("RX_TLS_RESYNC_RES_SKIP")) == (0, 1)


def test_late_answers_are_as_good():
    rig, wire, _, event = tracking()
    begin = wire.records[2].start + 500
    assert set(rig.feed(wire, begin, wire.records[4].start, 300)) == {AS_ON_WIRE}
    assert rig.answer(event, wire).status == 0
    assert set(rig.feed(wire, wire.records[4].start)) == {DECRYPTED}


def test_hints():
    rig, wire, handle, event = tracking()
    starts = [entry.start for entry in wire.records]
    assert rig.hint(handle, wire.sequence_at(starts[1]), 1).status == STALE
    assert rig.hint(handle, wire.sequence_at(starts[4]), 4).status == 0
    assert rig.counter("RX_TLS_RESYNC_REQ_SKIP") == 1
    assert rig.answer(event, wire).status == STALE
    assert rig.hint(handle, wire.sequence_at(starts[3]), 9).status == 0  # OFFLOAD: ignored
    begin = starts[2] + 500
    assert set(rig.feed(wire, begin, starts[4])) == {AS_ON_WIRE}
    assert set(rig.feed(wire, starts[4])) == {DECRYPTED}
    assert rig.state_of(handle).host_resyncs == 1


def test_a_question_waits_as_long_as_the_register_says():
    rig, wire, handle, event = tracking()
    assert rig.read(r.TLS_RESYNC) == 1_000_000
    rig.write(r.TLS_RESYNC, 500)
    begin = wire.records[2].start + 500
    rig.run(after_ns=500_000)
    assert not rig.take(wire, begin, begin + 10).asks
    rig.run(after_ns=1)
    packet = rig.take(wire, begin + 10, wire.records[3].start + 100)
    assert packet.asks
    assert rig.answer(event, wire).status == STALE
    event = rig.question()
    assert (event.question, event.tcp_sequence) == (2, wire.sequence_at(wire.records[3].start))
    assert rig.answer(event, wire).status == 0
    rig.write(r.TLS_RESYNC, 0)
    assert rig.state_of(handle).tracker_state == OFFLOAD


def test_zero_is_no_time_out():
    rig, wire, _, event = tracking()
    rig.write(r.TLS_RESYNC, 0)
    rig.run(after_ns=10**15)
    begin = wire.records[2].start + 500
    assert not rig.take(wire, begin, begin + 900).asks
    assert rig.answer(event, wire).status == 0


# Rekey


def rekey(rig, handle, wire, **fields):
    values = {"flags": TlsFlowFlags.RESYNC_HOST, "direction": 1}
    return rig.rekey(handle, wire, **{**values, **fields})


def test_rekey_takes_effect_at_its_number():
    rig, wire, handle = begun(500, 500)
    old = wire.keys
    wire.rekey(1, number=3)
    assert rekey(rig, handle, wire).status == 0
    wire.add(400)
    wire.add(400)
    assert rig.feed(wire, 0, len(wire), 300) == [DECRYPTED] * 7
    assert not held_by_card(rig, old[0])
    assert rig.state_of(handle).record_number == 5


def test_rekey_of_a_place_that_was_followed():
    rig, wire, handle = begun(500)
    wire.add(5, kind=22, content=b"\x18\0\0\1\0")  # KeyUpdate
    end = len(wire)
    wire.rekey(1)
    wire.add(400)
    wire.add(400)
    assert rig.feed(wire, 0, end, 1000) == [DECRYPTED]
    assert rig.state_of(handle).tracker_state == HALTED
    assert rig.feed(wire, end, end + 300) == [AS_ON_WIRE]
    assert rekey(rig, handle, wire, tcp_sequence=wire.sequence_at(end), record_number=0).status == 0
    second = wire.records[-1].start
    assert rig.feed(wire, end + 300, second) == [AS_ON_WIRE]
    assert rig.feed(wire, second) == [DECRYPTED]


@pytest.mark.parametrize(
    ("fields", "member"),
    [
        ({"direction": 0, "flags": 0}, "direction"),
        ({"suite": CipherSuite.TLS12_AES_256_GCM, "tls_version": 0x303, "key_length": 32,
          "iv_length": 4}, "suite"),
        ({"max_plaintext": 5000}, "max_plaintext"),
        ({"key_length": 32}, "key_length"),
        ({"flags": TlsFlowFlags.RATE_LIMIT}, "flags"),
    ],
    ids=str,
)  # fmt: skip
def test_rekeys_that_are_refused(fields, member):
    rig, wire, handle = begun(500, 500)
    other = Wire(seed=1)
    response = rekey(rig, handle, other, **fields)
    assert (response.status, response.detail) == (BAD, getattr(TlsFlow, f"OFFSET_{member.upper()}"))
    assert not held_by_card(rig, *filter(None, other.keys))
    assert set(rig.feed(wire)) == {DECRYPTED}


# Keys


def materials(rig):
    """The bytearrays with the keys of all flows."""
    return [getattr(flow._opener._keys, name) for flow in rig.nic.flows for name in ("key", "iv")]


def two_flows():
    """Two flows inside a record, one of them with a key to come, and all their secrets."""
    rig = ReceiveRig()
    wires = Wire(GCM13), Wire(case_of("TLS12_CHACHA20_POLY1305"), seed=1)
    secrets = []
    for port, wire in enumerate(wires, 1):
        handle = rig.receive_flow(wire, local_port=port)
        secrets += wire.keys[:2]
        wire.add(500)
        wire.add(500)
        assert set(rig.feed(wire, 0, 800, local_port=port)) == {DECRYPTED}
    wire.rekey(2)
    assert rekey(rig, handle, wire).status == 0
    return rig, secrets + wire.keys[:2]


def check_gone(rig, kept, secrets):
    """The keys were overwritten where they were, and nothing that can be reached has them."""
    assert kept
    assert not any(map(any, kept))
    assert not held_by_card(rig, *secrets)


def test_the_search_for_keys_finds_them():
    rig, secrets = two_flows()
    assert all(held_by_card(rig, secret) for secret in secrets)
    assert all(map(any, materials(rig)))


@EVERY_RESET
def test_reset_wipes_the_keys(kind):
    rig, secrets = two_flows()
    kept = materials(rig)
    rig.nic.reset(kind)
    check_gone(rig, kept, secrets)


def test_reset_by_register_wipes_the_keys():
    rig, secrets = two_flows()
    kept = materials(rig)
    rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
    check_gone(rig, kept, secrets)


def test_destroy_wipes_the_keys():
    rig, secrets = two_flows()
    kept = materials(rig)
    for handle in [flow.handle for flow in rig.nic.flows]:
        assert rig.destroy(handle).status == 0
    check_gone(rig, kept, secrets)


def test_rekey_wipes_the_key_that_is_replaced():
    rig, wire, handle = begun(100)
    rig.feed(wire)
    kept, old = materials(rig), wire.keys[:2]
    wire.rekey(1)
    assert rekey(rig, handle, wire).status == 0
    check_gone(rig, kept, old)


def test_query_and_diagnostics_show_no_keys():
    rig, secrets = two_flows()
    before = bytes(rig.host.maps[0][0])
    for flow in list(rig.nic.flows):
        shown = rig.state_of(flow.handle).pack() + repr(flow).encode()
        shown += repr(flow._opener).encode()
        for secret in secrets:
            assert secret not in shown
            assert secret.hex().encode() not in shown
    after = bytes(rig.host.maps[0][0])
    assert [before.count(secret) for secret in secrets] == [after.count(s) for s in secrets]


# Destroy and reset


def test_destroyed_flows_leave_packets_alone():
    rig, wire, handle = begun(500, 500)
    assert rig.feed(wire, 0, 300) == [DECRYPTED]
    assert rig.destroy(handle).status == 0
    rig.receive(frame_of(wire, 300, 600))
    packet = rig.packet()
    assert (packet.completion.tls_state, packet.completion.flow) == (0, 0)
    assert packet.payload == wire.wire[300:600]
    assert (rig.counter("RX_TLS_CTX"), rig.counter("RX_TLS_DEL")) == (1, 1)


def test_destroy_drops_the_question():
    rig, wire, handle, event = tracking()
    assert rig.destroy(handle).status == 0
    assert rig.counter("RX_TLS_RESYNC_REQ_SKIP") == 1
    assert rig.answer(event, wire).status == CommandStatus.BAD_HANDLE


def test_the_same_connection_again():
    rig, wire, handle = begun(500, 500)
    rig.feed(wire, 0, 300)
    rig.destroy(handle)
    again = Wire(seed=4, sequence=0xFFFF_FFF0, number=9)
    fresh = rig.receive_flow(again)
    again.add(300)
    again.add(300)
    assert fresh != handle
    assert rig.feed(again, 0, None, 100) == [DECRYPTED] * 7
    assert rig.state_of(fresh).not_offloaded == 0


@EVERY_RESET
def test_nothing_of_a_flow_is_left_after_a_reset(kind):
    rig, wire, handle, event = tracking()
    rig.nic.reset(kind)
    assert [rig.counter(f"RX_TLS_{name}") for name in ("CTX", "RESYNC_REQ_START")] == [0, 0]
    rig.up()
    rig.up_receive()
    rig.receive(frame_of(wire, 100, 600))
    assert rig.packet().completion.tls_state == 0
    fresh = rig.receive_flow(Wire())
    assert fresh != handle
    assert rig.answer(event, wire).status == CommandStatus.BAD_HANDLE
    assert rig.hint(handle, 1000, 0).status == CommandStatus.BAD_HANDLE
    assert set(rig.feed(wire)) == {DECRYPTED}


@pytest.mark.parametrize("case", AEAD, ids=lambda case: case.id)
def test_flows_may_begin_with_any_record_number(case):
    for number in (1, 1 << 40, (1 << 64) - 2):
        rig, wire, handle = begun(300, 300, case=case, number=number)
        assert rig.feed(wire, 0, None, 250) == [DECRYPTED] * -(-len(wire) // 250)
        assert rig.state_of(handle).record_number == min(number + 2, (1 << 64) - 1)


def test_a_connection_is_its_own_port():
    """Two connections with the same keys and numbers do not disturb each other."""
    rig, wire, _ = begun(600, 600)
    rig.receive_flow(Wire(), local_port=LOCAL_PORT + 1)
    for begin in range(0, len(wire), 200):
        for port in (LOCAL_PORT, LOCAL_PORT + 1):
            assert (
                rig.take(wire, begin, min(begin + 200, len(wire)), local_port=port).state
                is DECRYPTED
            )

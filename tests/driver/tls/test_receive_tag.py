"""Receive tags on the model of the card: what they ask of it, and how they answer it."""

import pytest
from flows import ADDRESS, START, make_session

from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Diagnostic,
    EventType,
    RxFlags,
    TlsDirection,
    TlsFeature,
    TlsFlowFlags,
    TlsRxState,
)
from tlsnic.abi.structures import (
    FlowErrorEvent,
    ResyncRequestEvent,
    TlsFlow,
    TlsResyncAnswerCommand,
    TlsResyncHintCommand,
)
from tlsnic.driver import waiting
from tlsnic.driver.errors import (
    CommandError,
    CommandTimeoutError,
    DeviceGoneError,
    SendTagDeadError,
    SendTagRefused,
)
from tlsnic.driver.tls.receive_tag import Resync

GCM13, CBC12 = CipherSuite.TLS13_AES_128_GCM, CipherSuite.TLS12_AES_CBC_SHA256
CREATE, QUERY, REKEY, RATE, DESTROY, ANSWER, HINT = range(0x100, 0x107)
HANDLE = 0x0003_0007
MASK = 0xFFFF_FFFF


@pytest.fixture
def nic(device, attach, monkeypatch):
    monkeypatch.setattr(waiting, "GONE_CHECK_S", 0.01)
    device.answers = {
        CREATE: {"result0": HANDLE},
        REKEY: {},
        DESTROY: {},
        ANSWER: {},
        HINT: {},
    }
    attached = attach(command_timeout_s=0.02, admin_entries=8)
    features = TlsFeature.RX_RESYNC_REQUEST | TlsFeature.RX_RESYNC_HINT | TlsFeature.RX_RESYNC_TAG
    attached.capabilities = attached.capabilities._replace(
        tls_rx_suites=int(GCM13), tls_features=int(features)
    )
    return attached


@pytest.fixture
def tag(nic):
    return nic.rcv_tag_alloc(make_session(GCM13), ADDRESS, START)


def ask(device, nic, sequence, question=1, handle=HANDLE):
    event = ResyncRequestEvent(
        type=EventType.RESYNC_REQUEST,
        handle=handle,
        tcp_sequence=sequence & MASK,
        question=question,
        sequence=device.event_sequence,
    )
    device.queues["event", 0].complete(event.pack())
    device.event_sequence += 1
    nic.poll_events()


def answers(device):
    """(question, sequence from START, number or None) of each answer since the last call."""
    found = []
    for opcode, raw, _ in device.commands:
        if opcode == ANSWER:
            command = TlsResyncAnswerCommand.unpack_from(raw)
            assert command.handle == HANDLE
            number = command.record_number if command.found else None
            found.append((command.question, command.tcp_sequence - START & MASK, number))
    device.commands.clear()
    return found


def counts(tag, *names):
    values = tag.counters.as_dict()
    return tuple(values[f"rx_tls_{name}"] for name in names)


RESYNC = [f"resync_{name}" for name in ("req_start", "req_end", "req_skip", "res_ok", "res_skip")]


@pytest.mark.parametrize("resync", [Resync.NONE, Resync.HOST, Resync.TAG, Resync.BOTH])
def test_the_flow_block_says_what_the_reference_asks_for(device, nic, resync):
    session = make_session(GCM13, record_number=7, max_plaintext=1024)
    tag = nic.rcv_tag_alloc(session, ADDRESS._replace(vlan_id=33), -1, resync=resync)
    (_, _, block) = device.commands[-1]
    flow = TlsFlow.unpack_from(block)
    assert flow == TlsFlow(
        direction=TlsDirection.RECEIVE,
        ip_version=4,
        flags=TlsFlowFlags.VLAN | int(resync),
        tls_version=0x0304,
        vlan_id=33,
        suite=GCM13,
        record_number=7,
        tcp_sequence=MASK,
        local_port=4000,
        remote_port=443,
        rate_bytes_per_s=0,
        key_length=16,
        iv_length=12,
        mac_key_length=0,
        max_plaintext=1024,
        local_address=b"\x0a\0\0\1".ljust(16, b"\0"),
        remote_address=b"\x0a\0\0\2".ljust(16, b"\0"),
        key=bytes(session.key).ljust(32, b"\0"),
        iv=bytes(session.iv).ljust(16, b"\0"),
        mac_key=bytes(48),
    )
    assert bytes(session.key) not in bytes(device.memory)
    assert session.key.hex() not in repr(tag)
    assert nic.receive_tags == {HANDLE: tag}


def test_what_the_card_does_not_offer_is_refused_before_keys_are_shown(device, nic):
    before = len(device.commands)
    with pytest.raises(SendTagRefused, match="UNSUPPORTED"):
        nic.rcv_tag_alloc(make_session(CBC12), ADDRESS, START)
    nic.capabilities = nic.capabilities._replace(tls_features=int(TlsFeature.RX_RESYNC_HINT))
    for resync in (Resync.HOST, Resync.TAG, Resync.BOTH):
        with pytest.raises(SendTagRefused, match="UNSUPPORTED: the card lacks RX_RESYNC"):
            nic.rcv_tag_alloc(make_session(GCM13), ADDRESS, START, resync=resync)
    assert len(device.commands) == before
    assert nic.rcv_tag_alloc(make_session(GCM13), ADDRESS, START, resync=Resync.NONE).is_alive


def test_refusals_of_the_card_name_their_status(device, nic):
    device.answers[CREATE] = {"status": CommandStatus.DISABLED}
    with pytest.raises(SendTagRefused) as caught:
        nic.rcv_tag_alloc(make_session(GCM13), ADDRESS, START)
    assert caught.value.status == CommandStatus.DISABLED
    assert not nic.receive_tags


def test_a_question_about_a_record_that_is_known_is_answered_at_once(device, nic, tag):
    for number in range(5):
        tag.modify(START + 100 * number & MASK, 100, number)
    ask(device, nic, START + 300, question=9)
    assert answers(device) == [(9, 300, 3)]
    nic.poll_events()
    assert tag.question is None
    assert counts(tag, *RESYNC) == (1, 1, 0, 1, 0)


def test_a_question_ahead_waits_until_the_stream_is_there(device, nic, tag):
    tag.modify(START, 100, 0)
    ask(device, nic, START + 200, question=4)
    assert tag.question.question == 4
    tag.modify(START + 100, 100, 1)
    assert answers(device) == []
    tag.modify(START + 200, 50, 2)
    assert answers(device) == [(4, 200, 2)]
    tag.modify(START + 250, 50, 3)
    assert answers(device) == []
    assert counts(tag, *RESYNC) == (1, 1, 0, 0, 0)
    nic.poll_events()
    assert counts(tag, *RESYNC) == (1, 1, 0, 1, 0)


@pytest.mark.parametrize("before", [0, 1, 99])
def test_a_record_that_runs_over_the_place_is_a_no(device, nic, tag, before):
    ask(device, nic, START + 100 + before)
    tag.modify(START, 100, 0)
    assert answers(device) == []
    tag.modify(START + 100, 100, 1)
    assert answers(device) == [(1, 100 + before, None if before else 1)]
    nic.poll_events()
    assert counts(tag, *RESYNC) == (1, 1, 0, not before, bool(before))


def test_a_question_about_what_is_past_is_a_no(device, nic, tag):
    ask(device, nic, START - 1)
    tag.modify(START, 100, 0)
    ask(device, nic, START + 50, question=2)
    tag.modify(START + 1000, 100, 9)  # a gap: the records before it are forgotten
    ask(device, nic, START, question=3)
    tag.modify(START + 1100, 0, 10)
    ask(device, nic, START + 1000, question=4)
    ask(device, nic, START + 1100, question=5)
    assert answers(device) == [(1, MASK, None), (2, 50, None), (3, 0, None), (4, 1000, None)]
    assert tag.question.question == 5


def test_only_the_newest_question_is_kept(device, nic, tag):
    ask(device, nic, START + 100, question=1)
    ask(device, nic, START + 200, question=2)
    tag.modify(START, 100, 0)
    tag.modify(START + 100, 100, 1)
    tag.modify(START + 200, 100, 2)
    assert answers(device) == [(2, 200, 2)]
    assert counts(tag, *RESYNC)[:3] == (2, 1, 1)


def test_answers_that_come_too_late_are_skips(device, nic, tag):
    device.answers[ANSWER] = {"status": CommandStatus.STALE}
    tag.modify(START, 100, 0)
    ask(device, nic, START)
    nic.poll_events()
    assert counts(tag, *RESYNC) == (1, 1, 0, 0, 1)


def test_a_full_admin_ring_delays_the_answer(device, nic, tag):
    device.mute_commands = True
    pending = [nic.admin.submit(b"\0" * 32) for _ in range(7)]
    tag.modify(START, 100, 0)
    ask(device, nic, START)
    assert tag.question is not None
    device.mute_commands = False
    device.run()
    nic.poll_events()
    assert answers(device) == [(1, 0, 0)]
    nic.poll_events()
    assert counts(tag, *RESYNC) == (1, 1, 0, 1, 0)
    assert all(command.response for command in pending)


def test_questions_of_others_and_of_dead_tags_are_left_alone(device, nic, tag):
    ask(device, nic, START, handle=HANDLE + 1)
    tag.free()
    ask(device, nic, START)
    assert answers(device) == []
    assert counts(tag, *RESYNC) == (0, 0, 0, 0, 0)


def test_hints(device, nic, tag):
    pending = tag.hint(START + 5, 8)
    assert TlsResyncHintCommand.unpack_from(device.commands[-1][1]) == TlsResyncHintCommand(
        opcode=HINT,
        command_id=pending.command_id,
        record_number=8,
        tcp_sequence=START + 5,
        handle=HANDLE,
    )
    nic.poll_events()
    assert pending.response.status == CommandStatus.OK
    device.answers[HINT] = {"status": CommandStatus.STALE}
    with pytest.raises(CommandError, match="STALE"):
        nic.admin.result(tag.hint(START, 0))
    nic.poll_events()
    assert counts(tag, *RESYNC) == (0, 0, 0, 1, 1)


def test_packets_are_counted(tag, nic):
    class Packet:
        flags = 0

    for state, flags in (
        (TlsRxState.DECRYPTED, 0),
        (TlsRxState.DECRYPTED, RxFlags.RESYNC),
        (TlsRxState.AS_ON_WIRE, RxFlags.RESYNC | RxFlags.TCP),
        (TlsRxState.AUTH_FAILED, 0),
    ):
        packet = Packet()
        packet.tls_state, packet.flags = int(state), int(flags)
        tag.received(packet, 1000)
    names = ("decrypted_packets", "decrypted_bytes", "err", "resync_req_pkt", "ctx", "del")
    assert counts(tag, *names) == (2, 2000, 1, 2, 1, 0)
    tag.free()
    total = nic.tls_receive_counters
    assert total.rx_tls_decrypted_bytes == 2000
    assert total.rx_tls_ctx == total.rx_tls_del == 1
    assert not any(nic.tls_counters.as_dict().values())


def test_flow_errors_reach_the_tag(device, nic, tag):
    event = FlowErrorEvent(
        type=EventType.FLOW_ERROR,
        handle=HANDLE,
        code=Diagnostic.TLS_AUTH,
        tcp_sequence=START,
        sequence=device.event_sequence,
    )
    device.queues["event", 0].complete(event.pack())
    nic.poll_events()
    assert tag.flow_error.code == Diagnostic.TLS_AUTH


def test_rekey(device, nic, tag):
    session = make_session(GCM13, seed=2)
    tag.modify_rekey(session, START + 500 & MASK)
    _, raw, block = device.commands[-1]
    assert raw[20:24] == HANDLE.to_bytes(4, "little")
    flow = TlsFlow.unpack_from(block)
    assert flow.direction == TlsDirection.RECEIVE
    assert flow.flags == TlsFlowFlags.RESYNC_HOST
    assert flow.tcp_sequence == START + 500 & MASK
    assert bytes(flow.key[:16]) == bytes(session.key)
    assert bytes(session.key) not in bytes(device.memory)
    assert tag.session is session
    device.answers[REKEY] = {"status": CommandStatus.BUSY}
    with pytest.raises(SendTagRefused, match="BUSY"):
        tag.modify_rekey(make_session(GCM13, seed=3), START)
    assert tag.session is session
    with pytest.raises(ValueError, match="keeps version"):
        tag.modify_rekey(make_session(CBC12), START)


def test_a_rekey_without_an_answer_closes_the_flow(device, nic, tag):
    device.held = {REKEY}
    session = make_session(GCM13, seed=2)
    with pytest.raises(CommandTimeoutError):
        tag.modify_rekey(session, START)
    assert not tag.is_alive
    device.release()
    tag.free()
    assert bytes(session.key) not in bytes(device.memory)
    assert not nic.receive_tags


def test_responses_are_counted_up_to_the_end(device, nic, tag):
    tag.modify(START, 100, 0)
    ask(device, nic, START)
    tag.free()
    assert counts(tag, *RESYNC) == (1, 1, 0, 1, 0)


def test_the_end_of_a_tag(device, nic, tag):
    ask(device, nic, START + 100)
    tag.free()
    tag.free()
    assert [opcode for opcode, _, _ in device.commands] == [CREATE, DESTROY]
    assert counts(tag, *RESYNC)[:3] == (1, 0, 1)
    assert counts(tag, "del") == (1,)
    for call in (
        lambda: tag.modify(START, 1, 0),
        lambda: tag.hint(START, 0),
        lambda: tag.modify_rekey(tag.session, START),
        tag.query,
    ):
        with pytest.raises(SendTagDeadError, match="freed"):
            call()


def test_a_reset_and_a_lost_card_end_all_tags(device, nic, tag):
    nic.reset()
    assert not tag.is_alive
    assert not nic.receive_tags
    assert nic.tls_receive_counters.rx_tls_del == 1
    second = nic.rcv_tag_alloc(make_session(GCM13), ADDRESS, START)
    device.gone = True
    with pytest.raises(DeviceGoneError):
        second.query()
    assert not second.is_alive
    assert nic.tls_receive_counters.rx_tls_del == 2

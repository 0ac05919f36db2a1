"""Send tags when the card is slow to answer, silent, or gone."""

import pytest
from flows import ADDRESS, START, Stream, make_session

from tlsnic.abi.enums import CipherSuite, CommandStatus
from tlsnic.driver import waiting
from tlsnic.driver.errors import (
    CommandError,
    CommandTimeoutError,
    DeviceGoneError,
    SendTagDeadError,
    SendTagRefused,
)
from tlsnic.driver.tls.send_tag import OutcomeKind

GCM13 = CipherSuite.TLS13_AES_128_GCM
CREATE, QUERY, REKEY, RATE, DESTROY = range(0x100, 0x105)


@pytest.fixture
def nic(device, attach, monkeypatch):
    """On the model, which answers every TLS command."""
    monkeypatch.setattr(waiting, "GONE_CHECK_S", 0.01)
    device.answers = {CREATE: {"result0": 77}, REKEY: {}, RATE: {}, DESTROY: {}}
    return attach(tx_queues=2, command_timeout_s=0.02)


def connect(nic):
    session = make_session(GCM13)
    tag = nic.snd_tag_alloc(session, ADDRESS, START)
    stream = Stream(tag, session)
    stream.write(100)
    return tag, stream


def opcodes(device):
    return [opcode for opcode, _, _ in device.commands]


def test_a_flow_that_was_made_too_late_is_destroyed(device, nic):
    device.held = {CREATE}
    session = make_session(GCM13)
    with pytest.raises(CommandTimeoutError) as caught:
        nic.snd_tag_alloc(session, ADDRESS, START)
    assert session.key.hex() not in repr(caught.value)
    assert bytes(session.key) in device.memory
    device.release()
    nic.admin.nop()
    assert bytes(session.key) not in device.memory
    assert opcodes(device) == [CREATE, 0, DESTROY]
    assert device.commands[-1][1][20:24] == (77).to_bytes(4, "little")
    assert nic.tls_counters.tx_tls_ctx == 0
    assert not nic.send_tags


def test_a_late_refusal_is_left_alone(device, nic):
    device.held = {CREATE}
    device.answers[CREATE] = {"status": CommandStatus.TABLE_FULL}
    with pytest.raises(CommandTimeoutError):
        connect(nic)
    device.release()
    nic.admin.nop()
    assert opcodes(device) == [CREATE, 0]


def test_a_full_table_is_a_refusal(device, nic):
    device.answers[CREATE] = {"status": CommandStatus.TABLE_FULL, "detail": 5}
    session = make_session(GCM13)
    with pytest.raises(SendTagRefused, match="TABLE_FULL") as caught:
        nic.snd_tag_alloc(session, ADDRESS, START)
    assert caught.value.status == CommandStatus.TABLE_FULL
    assert "TABLE_FULL" in caught.value.reason
    assert bytes(session.key) not in device.memory


def test_a_refused_rekey_or_rate_changes_nothing(device, nic):
    tag, stream = connect(nic)
    device.answers[REKEY] = device.answers[RATE] = {"status": CommandStatus.BUSY}
    session = make_session(GCM13, seed=2)
    with pytest.raises(SendTagRefused, match="BUSY"):
        tag.modify_rekey(session, stream.end)
    with pytest.raises(SendTagRefused, match="BUSY"):
        tag.modify_rate(5)
    assert bytes(session.key) not in device.memory
    assert tag.session is stream.framer.session
    assert tag.rate_bytes_per_s == 0
    stream.write(10)
    assert tag.records.newest.session_epoch == 0


def test_a_rekey_without_answer_closes_the_flow(device, nic):
    tag, stream = connect(nic)
    device.held = {REKEY}
    session = make_session(GCM13, seed=2)
    with pytest.raises(CommandTimeoutError):
        tag.modify_rekey(session, stream.end)
    with pytest.raises(SendTagDeadError, match="being freed"):
        stream.send(nic.tx[0], START, 50)
    device.release()
    tag.free()
    assert bytes(session.key) not in device.memory
    assert opcodes(device) == [CREATE, REKEY, DESTROY]


def test_a_queue_that_was_restarted_is_not_waited_for(device, nic):
    _, stream = connect(nic)
    device.paused = True
    for n in range(3):
        stream.send(nic.tx[0], START + 10 * n, 10)
    nic.tx[0].restart()
    device.paused = False
    assert stream.send(nic.tx[1], START + 30, 10).kind is OutcomeKind.IN_ORDER
    assert [number for number, *_ in device.sent] == [1]


def test_freeing_takes_completions_meanwhile(device, nic):
    tag, stream = connect(nic)
    device.held = {DESTROY}
    stream.send(nic.tx[0], START, 50)
    assert nic.tx[0].done == 0
    with pytest.raises(CommandTimeoutError):
        tag.free()
    assert nic.tx[0].done == 1, "the card may wait for room in the completion ring"
    assert tag.counters.tx_tls_del == 0
    with pytest.raises(SendTagDeadError, match="being freed"):
        stream.send(nic.tx[0], START + 50, 20)
    device.release()
    tag.free()
    assert tag.counters.tx_tls_del == 1
    assert opcodes(device).count(DESTROY) == 1
    assert len(device.sent) == 1


def test_a_flow_that_the_card_does_not_know_any_more_is_free(device, nic):
    tag, _ = connect(nic)
    device.answers[DESTROY] = {"status": CommandStatus.BAD_HANDLE}
    tag.free()
    assert not tag.is_alive
    other, _ = connect(nic)
    device.answers[DESTROY] = {"status": CommandStatus.UNSUPPORTED}
    with pytest.raises(CommandError):
        other.free()
    assert not nic.send_tags


def test_when_the_card_is_gone_tags_are_dead_and_free_is_harmless(device, nic):
    tag, _ = connect(nic)
    device.answers[CREATE] = {"result0": 78}
    other = nic.snd_tag_alloc(make_session(GCM13), ADDRESS._replace(local_port=5), START)
    device.gone = True
    with pytest.raises(DeviceGoneError):
        tag.query()
    posted = nic.tx[0].posted
    for dead in (tag, other):
        with pytest.raises(SendTagDeadError, match="device gone"):
            dead.transmit(nic.tx[0], b"h" * 54, START, b"x" * 50)
        dead.free()
    assert nic.tx[0].posted == posted
    assert nic.tls_counters.tx_tls_ctx == nic.tls_counters.tx_tls_del


def test_freeing_finds_out_that_the_card_is_gone(device, nic):
    tag, stream = connect(nic)
    stream.send(nic.tx[0], START, 50)
    device.gone = True
    tag.free()
    tag.free()
    assert not tag.is_alive
    assert not nic.send_tags

"""The stack and other threads: whose calls wait for a turn, and what must not happen between two."""

import errno
import select
import threading

import pytest
from flows import make_session
from marked_stream import WireStream
from network import Rig

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.ktls_ifnet import ktls_output_eagain
from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_MODE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_NBIO
from tlsnic.driver.ktls.vlan import Vlan
from tlsnic.driver.tcp import Connection, TcpConfig, to_frames, wire

GCM13 = CipherSuite.TLS13_AES_128_GCM


@pytest.fixture
def rig():
    made = []

    def make(*args, **options):
        made.append(Rig(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def elsewhere(function):
    """Call it in another thread; its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def flags_sent(one):
    return [wire.parse(frame).flags for _, frame in one.sent if frame[12:14] == b"\x08\x00"]


def test_receive_is_enabled_in_the_thread_that_takes_turns(rig):
    """The card's commands are that thread's, and so is what TCP has received."""
    one = rig(1)
    one.stack.turn(0)
    threads = []
    alloc = one.nics[0].rcv_tag_alloc

    def watched(*args, **options):
        threads.append(threading.get_ident())
        return alloc(*args, **options)

    one.nics[0].rcv_tag_alloc = watched
    enable = TlsEnable.of(make_session(GCM13))
    worker = threading.Thread(
        target=lambda: one.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, enable)
    )
    worker.start()
    while worker.is_alive():
        one.stack.turn(0.001)
    worker.join()
    assert threads == [threading.get_ident()]


def test_what_nobody_waits_for_any_more_is_not_done(rig):
    one = rig(1)
    one.stack.turn(0)
    done = []

    def late():
        with pytest.raises(TimeoutError) as caught:
            one.stack.call(lambda: done.append(1), 0.01)
        return caught.value.errno

    assert elsewhere(late) == errno.ETIMEDOUT
    one.stack.turn(0)
    assert not done


def test_what_was_decrypted_ends_the_wait_of_who_takes_turns(rig):
    """It waits for descriptors, not for the socket buffer."""
    one = rig(1)
    one.stack.turn(0)
    (wakeup,) = one.stack._watched()
    assert not select.select([wakeup], [], [], 0)[0]
    elsewhere(one.so.sorwakeup)
    assert select.select([wakeup], [], [], 0)[0]


def test_an_abort_by_another_thread_sends_a_reset_and_nothing_else(rig):
    """Also between two steps of a turn: the socket buffer must not be empty before TCP knows."""
    one = rig(1)
    one.enable(make_session(GCM13))
    one.so.write(bytes(400_000))
    one.run(lambda: one.peer.readable + len(one.got) > 50_000)
    one.link.rule = lambda end, _: end != 0  # nothing is acknowledged any more
    ask, so = one.stack.resolver.ask, one.so

    def now(now_ns):
        due_ns = one.inp.connection.sender.retransmit_at
        if due_ns is None or now_ns < due_ns:
            ask(now_ns)
            return
        one.stack.resolver.ask = ask
        elsewhere(so.abort)
        ask(now_ns)

    one.stack.resolver.ask = now
    before = len(one.sent)
    one.link.run(lambda: not one.stack.connections)
    flags = flags_sent(one)[before:]
    assert not any(flag & wire.FIN for flag in flags)
    assert flags[-1] & wire.RST
    assert not any(flag & wire.RST for flag in flags[:-1])
    assert so.is_freed
    assert not one.counter("stats.active")


def test_a_mode_is_switched_while_somebody_reads(rig):
    """Only who writes holds the send lock."""
    one = rig(1)
    one.enable(make_session(GCM13))

    def switch():
        one.stack.switch_tls(one.inp, TCP_TLS_MODE_SW)
        one.so.so_error = errno.EINTR

    one.stack.enqueue_task(switch)
    with pytest.raises(InterruptedError):
        one.so.read(100)
    assert one.so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_SW


def test_what_came_before_a_bad_header_can_be_read(rig):
    one = rig(1)
    session = make_session(GCM13)
    stream = WireStream(session)
    stream.add(b"good")
    so = one.so
    so.so_state |= SS_NBIO
    so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))
    one.peer.write(stream.wire + bytes(100))
    one.run(lambda: one.peer.closed)
    assert so.read(100) == b"good"
    with pytest.raises(OSError, match="Invalid") as caught:
        so.read(100)
    assert caught.value.errno == errno.EINVAL
    assert so.read(100) == b""
    so.close()
    assert so.is_freed


@pytest.mark.parametrize("with_tls", [False, True])
def test_what_comes_after_close_does_not_fill_the_buffer(rig, with_tls):
    one = rig(1)
    session = make_session(GCM13)
    stream = WireStream(session)
    for _ in range(200):
        stream.add(bytes(16_000))
    so = one.so
    if with_tls:
        so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(session))
    sent = one.peer.write(stream.wire[:100_000])
    one.run(lambda: not one.peer.unacknowledged)
    so.close()
    assert not so.so_rcv.sb_ccc
    view = memoryview(stream.wire)

    def pump():
        nonlocal sent
        sent += one.peer.write(view[sent:])
        return sent == len(view) and not one.peer.unacknowledged

    assert len(view) > 2 * so.so_rcv.sb_hiwat
    one.link.run(pump)
    one.peer.close(one.link.now_ns)
    one.run(lambda: so.is_freed)


@pytest.mark.parametrize("stacked", [Vlan, Lagg])
def test_an_interface_that_is_down_sends_nothing(rig, stacked):
    """ether_output(): ENETDOWN."""
    if stacked is Vlan:
        one = rig(1, build=lambda one: Vlan(one.ifnets[0], 7), vlan=7)
    else:
        one = rig(1, build=lambda one: Lagg(one.ifnets))
    one.enable(make_session(GCM13))
    one.top.set_up(False)
    one.so.write(b"x" * 1000)
    until_ns = one.link.now_ns + 10**9
    one.run(lambda: one.link.now_ns > until_ns)
    assert not one.got
    assert one.stack.output_errors[errno.ENETDOWN]
    one.top.set_up(True)
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == b"x" * 1000


def test_a_new_tag_waits_for_the_old_flow_to_be_given_back(rig):
    """A packet that waits for room holds a reference to it."""
    one = rig(1)
    one.enable(make_session(GCM13))
    one.send(b"x" * 50_000)
    tls = one.so.so_snd.sb_tls_info
    old = tls.snd_tag.hold()
    ktls_output_eagain(one.inp, tls)
    one.so.write(b"y" * 50_000)
    until_ns = one.link.now_ns + 10**9
    one.run(lambda: one.link.now_ns > until_ns)
    assert tls.snd_tag is None
    old.release()
    one.run(lambda: not one.so.so_snd.sbused())
    assert one.plaintext() == b"x" * 50_000 + b"y" * 50_000
    assert one.counter("ifnet.reset") == 1
    one.check_wire()


def test_a_connection_that_was_never_established_is_not_accepted(rig):
    one = rig(1)
    listener = one.stack.listen(80, TcpConfig(max_retries=2, min_rto_ns=10**8))
    end = one.peer.endpoint._replace(local_port=5555, remote_port=80)
    peer = Connection(end)
    peer.connect(one.link.now_ns)
    (syn,) = to_frames(peer.poll(one.link.now_ns)[0])
    near = one.link.ends[1]
    near.receive(syn, one.link.now_ns)
    one.link.rule = lambda _, __: False
    one.link.run(lambda: len(one.stack.connections) == 2)
    one.link.run(lambda: len(one.stack.connections) == 1)
    assert not listener.accepted

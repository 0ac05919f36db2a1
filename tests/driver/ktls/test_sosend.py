"""write and sendmsg: what a socket takes, and how it waits."""

import errno
import random

import pytest
from flows import make_session
from hypothesis import given
from hypothesis import strategies as st
from sending import Tcp, content, make_file, make_socket, opened, split, take, take_all

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_TLS_MODE_IFNET,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    TLS_SET_RECORD_TYPE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_ISCONNECTED, SS_NBIO
from tlsnic.driver.ktls.workers import ScheduledPool

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CBC10 = CipherSuite.TLS10_AES_CBC_SHA1


def record_type(number):
    return [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes([number]))]


def fails(error, call, *arguments):
    with pytest.raises(OSError, match=r".") as caught:
        call(*arguments)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[error]


@pytest.mark.parametrize("maxlen", [64, 1000, 16384])
def test_a_write_becomes_records_of_at_most_the_maximum_length(maxlen):
    session = make_session(GCM13)
    kernel = Kernel(workers=ScheduledPool())
    kernel.sysctl["maxlen"] = maxlen
    so = make_socket(session, kernel=kernel)
    data = random.Random(1).randbytes(40_000)
    assert so.write(data) == 40_000
    records = opened(session, take_all(so))
    assert [len(part) for _, part in records[:-1]] == [maxlen] * (len(records) - 1)
    assert b"".join(part for _, part in records) == data


def test_before_there_is_tls():
    """Bytes as they are; those written before are not encrypted."""
    session = make_session(GCM13)
    proto = Tcp()
    so = make_socket(proto=proto)
    buffer = bytearray(b"hello ")
    assert so.write(buffer) == 6
    buffer[:] = b"xxxxxx"  # the socket has its own copy
    assert so.write(b"") == 0
    assert so.sendmsg([b"wo", b"rld"]) == 5
    assert proto.events == ["send", "send"]
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(session))
    so.write(b"secret")
    wire = take_all(so)
    assert wire[:11] == b"hello world"
    assert content(session, wire[11:]) == b"secret"


def test_sendmsg_with_a_record_type_is_one_record():
    session = make_session(GCM13, record_number=5)
    so = make_socket(session)
    so.sendmsg([b"al", b"ert"], record_type(21))
    so.sendmsg([bytes(16384)], record_type(22))
    so.sendmsg([b"da", b"ta"])
    assert opened(session, take_all(so)) == [(21, b"alert"), (22, bytes(16384)), (23, b"data")]


def test_what_sendmsg_refuses():
    so = make_socket(make_session(GCM13), send_bytes=17_000)
    fails(errno.EMSGSIZE, so.sendmsg, [bytes(16385)], record_type(22))
    fails(errno.EINVAL, so.sendmsg, [b""], record_type(22))
    fails(errno.EINVAL, so.sendmsg, [b"x"], [(IPPROTO_TCP, 2, b"\x17")])
    fails(errno.EINVAL, so.sendmsg, [b"x"], [(0, TLS_SET_RECORD_TYPE, b"\x17")])
    fails(errno.EINVAL, so.sendmsg, [b"x"], [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, b"")])
    fails(errno.EINVAL, make_socket().sendmsg, [b"x"], record_type(21))
    small = make_socket(make_session(GCM13), send_bytes=1000)
    fails(errno.EMSGSIZE, small.sendmsg, [bytes(1001)], record_type(22))
    assert not so.so_snd.sbused()
    assert not small.so_snd.sbused()


@given(
    size=st.integers(1, 100_000),
    room=st.integers(3000, 30_000),
    rate=st.integers(2000, 20_000),
    suite=st.sampled_from([GCM12, GCM13, CBC10, None]),
)
def test_a_write_that_is_larger_than_the_buffer(size, room, rate, suite):
    """It waits for room, and takes everything; the buffer is never fuller than its size and the
    framing of what was appended last."""
    wire = []
    fullest = 0

    def acknowledge(so):
        nonlocal fullest
        fullest = max(fullest, so.so_snd.sbused())
        so.kernel.workers.drain()
        wire.append(take(so, rate))
        return True

    session = make_session(suite) if suite else None
    so = make_socket(session, proto=Tcp(on_wait=acknowledge), send_bytes=room)
    data = random.Random(size).randbytes(size)
    assert so.write(data) == size
    wire.append(take_all(so))
    sent = b"".join(wire)
    assert (content(session, sent) if suite else sent) == data
    assert fullest <= room + 200
    if session is None:
        assert fullest <= room


def test_a_socket_that_does_not_block():
    so = make_socket(make_session(GCM13), send_bytes=20_000)
    so.so_state |= SS_NBIO
    assert so.write(bytes(50_000)) == 20_000
    fails(errno.EAGAIN, so.write, b"x")
    with pytest.raises(BlockingIOError):
        so.write(b"x")
    so.kernel.workers.drain()
    take(so, 3000)
    assert so.sendmsg([bytes(2900)], record_type(22)) == 2900
    fails(errno.EAGAIN, so.sendmsg, [bytes(2900)], record_type(22))
    so.so_snd.sbcheck()


def test_waiting_for_too_long():
    so = make_socket(make_session(GCM13), send_bytes=1000)
    assert so.write(bytes(5000)) == 1000
    fails(errno.ETIMEDOUT, so.write, b"x")


def test_after_the_end():
    for end in ("shutdown", "close"):
        proto = Tcp()
        so = make_socket(make_session(GCM13), proto=proto)
        so.write(b"last words")
        getattr(so, end)()
        assert proto.events[-1] == end
        fails(errno.EPIPE, so.write, b"x")
        fails(errno.EPIPE, so.sendfile, 0, 0)
        assert content(make_session(GCM13), take_all(so)) == b"last words"


def test_errors_are_told_once():
    so = make_socket(make_session(GCM13))
    so.so_error = errno.ECONNRESET
    fails(errno.ECONNRESET, so.write, b"x")
    assert so.write(b"x") == 1
    so.so_state &= ~SS_ISCONNECTED
    fails(errno.ENOTCONN, so.write, b"x")


def test_the_connection_ends_while_a_write_waits():
    def drop(so):
        so.tcp_drop(errno.ECONNRESET)
        return True

    so = make_socket(make_session(GCM13), proto=Tcp(on_wait=drop), send_bytes=5000)
    fails(errno.ECONNRESET, so.write, bytes(9000))
    fails(errno.EPIPE, so.write, b"x")
    so.kernel.workers.drain()
    assert not so.kernel.memory.in_use


@pytest.mark.parametrize("how", ["write", "sendfile"])
def test_the_mode_changes_while_a_call_waits(tmp_path, how):
    """What drives TCP meanwhile may switch the session; the old one's keys are gone then."""
    data = make_file(tmp_path / "file", 60_000)
    session = make_session(GCM12)
    wire = []

    def switch(so):
        so.kernel.workers.drain()
        wire.append(take(so))
        if not proto.ifnet:
            proto.ifnet = True
            so.setsockopt(IPPROTO_TCP, TCP_TXTLS_MODE, TCP_TLS_MODE_IFNET)
        return True

    proto = Tcp(on_wait=switch)
    so = make_socket(session, proto=proto, send_bytes=20_000)
    if how == "write":
        so.write(data)
    else:
        with (tmp_path / "file").open("rb") as file:
            so.sendfile(file.fileno(), 0)
    assert so.so_snd.sb_tls_info.mode == TCP_TLS_MODE_IFNET
    first = proto.tags[0].first_seqno
    assert so.so_snd.sb_tls_seqno > first > 0
    wire.append(take(so))
    records = split(b"".join(wire))
    sealed = opened(session, b"".join(records[:first]))
    plain = [record[13:-16] for record in records[first:]]
    assert b"".join([*(part for _, part in sealed), *plain]) == data


def test_tcp_is_told():
    """Of each piece that was appended, and of what has become ready."""
    proto = Tcp()
    so = make_socket(make_session(GCM12), proto=proto)
    so.write(bytes(40_000))
    assert proto.events == ["send"]
    so.kernel.workers.drain()
    assert proto.events == ["send", "ready"]
    assert len(split(take(so))) == 3


def test_freeing_twice_is_harmless():
    so = make_socket(make_session(GCM13))
    so.write(b"x")
    so.abort()
    so.sofree()
    so.kernel.workers.drain()
    assert so.so_snd.sb_tls_info is None
    assert so.kernel.sysctl["stats.active"] == 0

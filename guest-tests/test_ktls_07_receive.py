"""KTLS-07: receive in software: an encrypted chain beside the socket buffer, the header peeked, queued
when whole, the record detached while being decrypted, what is dropped meanwhile accounted, one record
with its control message per recvmsg, blocking reads wait.

D24628's ktls_check_rx() and ktls_decrypt(). OpenSSL encrypts, the host's TCP sends; the pool has no
threads, so that each step can be looked at.
"""

import errno

import pytest
from harness.ktls import CARD, CHACHA13, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_SW, TLS_RLTYPE_ALERT, TLS_RLTYPE_APP
from tlsnic.driver.ktls.sockbuf import SB_TLS_RX, SB_TLS_RX_RUNNING
from tlsnic.driver.ktls.soreceive import MSG_PEEK, MSG_TLSAPPDATA
from tlsnic.driver.ktls.workers import ThreadPool

pytestmark = [pytest.mark.row("KTLS-07"), CARD, pytest.mark.root]
SUITES = [GCM12, GCM13, CHACHA13]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def software(network, suite=GCM13, *, works=True, **options):
    one = network(**options)
    one.top.set_capability("rxtls4", False)
    line = one.connect(suite)
    line.enable_rx()
    assert line.rx_mode == TCP_TLS_MODE_SW
    one.stack.works = works
    return line


def counts(line):
    sb = line.so.so_rcv
    return sb.sb_acc, sb.sb_tlscc, sb.sb_tlsdcc, sb.sb_ccc


def come(line, count):
    """Until so many bytes more are in the socket buffer."""
    sb = line.so.so_rcv
    wanted = sb.sb_ccc + count
    line.network.run(lambda: sb.sb_ccc == wanted, f"{count} bytes have come")


@every_suite
def test_ktls_07_step_by_step(network, suite):
    line = software(network, suite, works=False)
    pool, sb = line.network.kernel.workers, line.so.so_rcv
    assert sb.sb_flags & SB_TLS_RX
    record = line.end.seal(marked(5000))
    size = len(record)
    # Less than a header; a header; all but one byte.
    at = 0
    for end in (4, 5, 1000, size - 1):
        line.far_send(record[at:end])
        come(line, end - at)
        at = end
        assert counts(line) == (0, end, 0, end)
        assert not pool.queued, "only whole records are for workers"
        assert not sb.sb_flags & SB_TLS_RX_RUNNING
    line.far_send(record[at:])
    come(line, 1)
    assert pool.queued == 1
    assert sb.sb_flags & SB_TLS_RX_RUNNING
    assert line.network.counter("stats.sw_rx_inqueue") == 1
    assert counts(line) == (0, size, 0, size)
    assert pool.step()
    assert counts(line) == (0, 0, size, size), "the record is detached, and counts"
    assert sb.sb_mb is None
    assert pool.step()
    acc, tlscc, tlsdcc, ccc = counts(line)
    assert (tlscc, tlsdcc) == (0, 0)
    assert acc == ccc == 5000 + sb.sb_ctl
    pool.drain()
    assert not sb.sb_flags & SB_TLS_RX_RUNNING
    message = line.so.recvmsg(1 << 16)
    assert message.data == marked(5000)
    assert message.is_eor
    assert message.control == (TLS_RLTYPE_APP, 3, 3, 5000)
    assert counts(line) == (0, 0, 0, 0)


def test_ktls_07_what_comes_meanwhile_waits_its_turn(network):
    """One worker at a time for a socket, and one record at a time."""
    line = software(network, works=False)
    pool, sb = line.network.kernel.workers, line.so.so_rcv
    first, second = line.end.seal(marked(3000, 1)), line.end.seal(marked(2000, 2))
    line.far_send(first)
    come(line, len(first))
    pool.step()
    line.far_send(second)
    come(line, len(second))
    assert counts(line) == (0, len(second), len(first), len(first) + len(second))
    assert pool.queued == 1
    pool.drain()
    sb.sbcheck()
    assert [message.data for message in line.messages(5000)] == [marked(3000, 1), marked(2000, 2)]


def test_ktls_07_the_window_counts_everything(network):
    """Also what is encrypted: the host can send no more than sb_hiwat."""
    line = software(network, works=False)
    sb = line.so.so_rcv
    line.far_write(*[marked(16_000, n) for n in range(30)])
    network_ = line.network
    network_.run(lambda: sb.sbspace() < 20_000, "the buffer is nearly full")
    for _ in range(20):
        network_.stack.turn(0)
    assert sb.sb_ccc <= sb.sb_hiwat
    assert sb.sbavail() == 0
    network_.stack.works = True
    assert line.read(480_000) == b"".join(marked(16_000, n) for n in range(30))


def test_ktls_07_dropped_while_it_is_decrypted(network):
    """The socket buffer is flushed: the worker finds that, and throws the record away."""
    line = software(network, works=False)
    pool, sb = line.network.kernel.workers, line.so.so_rcv
    size = line.far_write(marked(4000, 1), marked(4000, 2))
    come(line, size)
    pool.step()
    assert sb.sb_tlsdcc
    sb.sbflush()
    assert counts(line) == (0, 0, 0, 0)
    sb.sbcheck()
    pool.drain()
    sb.sbcheck()
    assert counts(line) == (0, 0, 0, 0)
    assert not sb.sb_flags & SB_TLS_RX_RUNNING
    assert not pool.failures


def test_ktls_07_closed_while_it_is_decrypted(network):
    line = software(network, works=False)
    pool = line.network.kernel.workers
    come(line, line.far_write(marked(4000)))
    pool.step()
    line.so.abort()
    pool.drain()
    assert not pool.failures
    assert line.so.so_rcv.sb_ccc == 0
    line.network.run(lambda: not line.network.stack.connections, "the connection ends")
    assert line.network.counter("stats.active") == 0


@every_suite
def test_ktls_07_one_record_per_recvmsg(network, suite):
    """With its control message; a short read leaves the rest, without one."""
    line = software(network, suite)
    sizes = [1, 16_384, 300, 5000]
    line.far_write(*[marked(size, size) for size in sizes])
    line.network.run(lambda: line.so.so_rcv.sbavail() >= sum(sizes), "all are decrypted")
    for size in sizes:
        message = line.so.recvmsg(1 << 17)
        assert (message.data, message.is_eor) == (marked(size, size), True)
        assert message.control == (TLS_RLTYPE_APP, 3, 3, size)
    line.far_write(marked(1000))
    peeked = line.so.recvmsg(400, MSG_PEEK)
    found = [line.so.recvmsg(400) for _ in range(3)]
    assert peeked == found[0]
    assert [len(message.data) for message in found] == [400, 400, 200]
    assert [message.is_eor for message in found] == [False, False, True]
    assert [message.control is not None for message in found] == [True, False, False]


def test_ktls_07_alerts(network):
    """close_notify is a record of type 21; MSG_TLSAPPDATA does not take it."""
    line = software(network, GCM13)
    offset = line.end.seal(marked(100))
    line.far_send(offset + line.end.close_notify(), end=True)
    assert line.so.recvmsg(1000, MSG_TLSAPPDATA).data == marked(100)
    line.network.run(line.so.so_rcv.sbavail, "the alert has come")
    with pytest.raises(OSError, match="alert") as caught:
        line.so.recvmsg(1000, MSG_TLSAPPDATA)
    assert caught.value.errno == errno.ENXIO
    message = line.so.recvmsg(1000)
    assert message.data == b"\1\0"
    assert message.control.tls_type == TLS_RLTYPE_ALERT
    assert line.so.recvmsg(1000).at_end


def test_ktls_07_blocking_reads_wait(network):
    """Also when there are bytes that are not decrypted; one that does not block gets EAGAIN."""
    line = software(network, pool=ThreadPool(2))
    with line.not_blocking(), pytest.raises(BlockingIOError):
        line.so.recvmsg(1000)
    record = line.end.seal(marked(10_000))
    line.far_send(record[:6000])
    come(line, 6000)
    with line.not_blocking(), pytest.raises(BlockingIOError):
        line.so.recvmsg(1000)
    line.far_send(record[6000:])
    assert line.so.recvmsg(1 << 16).data == marked(10_000)


def test_ktls_07_the_end_inside_of_a_record(network):
    """EMSGSIZE, after all that came before."""
    line = software(network)
    line.far_send(line.end.seal(marked(500)) + line.end.seal(marked(1000))[:-1], end=True)
    assert line.so.recvmsg(1 << 16).data == marked(500)
    with pytest.raises(OSError, match="long") as caught:
        line.so.recvmsg(1 << 16)
    assert caught.value.errno == errno.EMSGSIZE


def test_ktls_07_what_was_there_before(network):
    """Bytes that came before TCP_RXTLS_ENABLE are the first records (sb_mark_notready)."""
    one = network()
    one.top.set_capability("rxtls4", False)
    line = one.connect(GCM12)
    session = line.end.far()
    size = line.far_write(marked(3000, 1), marked(2000, 2))
    come(line, size)
    assert counts(line) == (size, 0, 0, size)
    line.enable_rx(session)
    line.far_write(marked(1000, 3))
    assert line.read(6000) == marked(3000, 1) + marked(2000, 2) + marked(1000, 3)

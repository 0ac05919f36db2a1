"""KTLS-09: a bad version or length ends the connection; a bad tag gives EBADMSG and later records go on.

uipc_ktls.c: behind a header that cannot be one nothing can be found (ktls_decrypt() drops the
connection, EINVAL or EMSGSIZE); a record that is not authentic is thrown away.
"""

import errno
import os

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.tls_rx_stream import ReceiveStream
from harness.tls_start import make_session
from harness.tls_stream import PlaintextScanner, marked

from tlsnic.abi.enums import Diagnostic
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW

pytestmark = [pytest.mark.row("KTLS-09"), CARD, pytest.mark.root]
MODES = {"software": TCP_TLS_MODE_SW, "ifnet": TCP_TLS_MODE_IFNET}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
every_suite = pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda suite: suite.name)


@pytest.fixture(autouse=True)
def _the_card_finds_bad_tags(watch):
    watch.allow(Diagnostic.TLS_AUTH)


def open_line(network, suite, mode):
    """And the stream that the host sends, written by software TLS, which can do what OpenSSL will
    not."""
    one = network()
    one.top.set_capability("rxtls4", mode == TCP_TLS_MODE_IFNET)
    line = one.connect()
    session = make_session(suite)
    line.enable_rx(session)
    assert line.rx_mode == mode
    stream = ReceiveStream(
        line.inp.flow_address, session, 0, None, PlaintextScanner(), one.nics[0].mac_address
    )
    return line, stream


HEADERS = {
    "SSL 3.0": (b"\x17\x03\x00\x01\x00", errno.EINVAL),
    "TLS 1.0": (b"\x17\x03\x01\x01\x00", errno.EINVAL),
    "no version": (b"\x17\x00\x00\x01\x00", errno.EINVAL),
    "too long": (b"\x17\x03\x03\x45\x00", errno.EMSGSIZE),
    "longest": (b"\x17\x03\x03\xff\xff", errno.EMSGSIZE),
    "empty": (b"\x17\x03\x03\x00\x00", errno.EMSGSIZE),
    "shorter than a tag": (b"\x17\x03\x03\x00\x0f", errno.EMSGSIZE),
}


@every_mode
@every_suite
def test_ktls_09_a_bad_header_ends_the_connection(network, suite, mode, scale):
    """After the record before it was read; the error once, and a reset for the host."""
    one = network()
    step = scale(1, 2)
    for number, (what, (header, error)) in enumerate(list(HEADERS.items())[::step]):
        line, stream = open_line(lambda: one, suite, mode)
        stream.write(700)
        line.far_send(bytes(stream.wire) + header + bytes(200))
        assert line.read(700) == marked(700)
        with pytest.raises(OSError, match=os.strerror(error)):
            line.so.recvmsg(1 << 16)
        assert one.counter("stats.corrupted_records") == number + 1, what
        line.await_reset()


@every_mode
@every_suite
def test_ktls_09_a_bad_tag_is_one_error(network, suite, mode):
    """And the records before and behind it are read."""
    line, stream = open_line(network, suite, mode)
    records = stream.write(1000, 1001, 1002, 1003)
    wire = bytearray(stream.wire)
    wire[records[1].end - 1] ^= 0x80
    wire[records[2].start + 20] ^= 1
    line.far_send(bytes(wire))
    found, errors = line.read_with_errors(2003)
    assert found == marked(1000, 0) + marked(1003, 3)
    assert set(errors) == {errno.EBADMSG}, "of records that come together, one"
    assert line.network.counter("stats.failed_crypto") == 2
    stream.write(500)
    line.far_send(bytes(stream.wire[stream.records[-1].start :]))
    assert line.read(500) == marked(500, 4)


@every_mode
def test_ktls_09_every_bad_record_by_itself(network, mode):
    """Read before the next one comes: EBADMSG for each."""
    line, stream = open_line(network, GCM13, mode)
    for number in range(3):
        record = stream.write(600)[0]
        wire = bytearray(stream.wire[record.start :])
        wire[-1] ^= 1
        line.far_send(bytes(wire))
        with pytest.raises(OSError, match="message") as caught:
            line.so.recvmsg(1 << 16)
        assert caught.value.errno == errno.EBADMSG
        good = stream.write(600)[0]
        line.far_send(bytes(stream.wire[good.start :]))
        assert line.read(600) == marked(600, 2 * number + 1)
    assert line.network.counter("stats.failed_crypto") == 3


@every_mode
def test_ktls_09_replayed_and_swapped_records(network, mode):
    """The record number is part of what is authenticated."""
    line, stream = open_line(network, GCM12, mode)
    first, second = stream.write(800, 900)
    wire = bytes(stream.wire)
    line.far_send(wire[: first.end] + wire[: first.end])
    line.network.stack.works = False
    line.network.run(lambda: line.so.so_rcv.sb_ccc == 2 * first.end, "both have come")
    line.network.stack.works = True
    assert line.read(800) == marked(800)
    with pytest.raises(OSError, match="message") as caught:
        line.so.recvmsg(1 << 16)
    assert caught.value.errno == errno.EBADMSG
    assert second.number == first.number + 1


@every_mode
def test_ktls_09_an_inner_plaintext_of_zeros(network, mode):
    """TLS 1.3: no content type, so no record (RFC 8446 section 5.4)."""
    line, stream = open_line(network, GCM13, mode)
    record = stream._framer.frame(23, b"", padding=300)
    zeros = bytearray(record.data)
    zeros[5] = 0  # the inner type
    stream.add(record._replace(data=bytes(zeros)))
    line.far_send(bytes(stream.wire))
    with pytest.raises(OSError, match="message") as caught:
        line.so.recvmsg(1 << 16)
    assert caught.value.errno == errno.EBADMSG
    good = stream.write(400)[0]
    line.far_send(bytes(stream.wire[good.start :]))
    assert line.read(400) == marked(400, 1)

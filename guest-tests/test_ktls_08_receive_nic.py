"""KTLS-08: receive with the NIC: a record that is decrypted as a whole passes; a mixed one is recrypted
by keystream XOR and authenticated as a whole; one that is not decrypted goes through software.

D32356's ktls_mbuf_crypto_state() and ktls_ocf_recrypt(). Segments are lost on the wire, so that the
card loses its place: at places in the stream that are chosen.
"""

import errno

import pytest
from harness.ktls import CARD, CHACHA13, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.abi.enums import Diagnostic
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET
from tlsnic.driver.ktls.workers import ThreadPool

pytestmark = [pytest.mark.row("KTLS-08"), CARD, pytest.mark.root]
SUITES = [GCM12, GCM13, CHACHA13]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
SIZE = 10_000  # some seven segments


def open_line(network, suite=GCM13, **options):
    one = network(**options)
    line = one.connect(suite)
    line.enable_rx()
    assert line.rx_mode == TCP_TLS_MODE_IFNET
    return line


def data(count, seed=0):
    return [marked(SIZE, seed + n) for n in range(count)]


@pytest.mark.parametrize("suite", [GCM12, CHACHA13], ids=lambda suite: suite.name)
def test_ktls_08_decrypted_records_pass(network, suite):
    """Software looks at no byte of them."""
    line = open_line(network, suite)
    pieces = data(8)
    line.far_write(*pieces)
    messages = line.messages(8 * SIZE)
    assert [message.data for message in messages] == pieces
    assert all(message.is_eor and message.control.tls_length == SIZE for message in messages)
    assert line.states() == {"DECRYPTED": 8}
    assert line.network.counter("bytes_touched.decrypt") == 0
    assert line.network.counter("bytes_touched.recrypt") == 0
    nic = line.network.nics[0]
    assert nic.tls_receive_counters.rx_tls_decrypted_bytes >= 8 * SIZE


@every_suite
def test_ktls_08_mixed_records_are_recrypted(network, suite):
    """One segment in the middle of the third record is lost: what came of the record before it is
    decrypted, what comes behind is not."""
    line = open_line(network, suite)
    pieces = data(8)
    line.network.between("drop", indices=[2 * SIZE // 1448 + 3])
    line.far_write(*pieces)
    assert line.read(8 * SIZE) == b"".join(pieces)
    assert line.network.check_frames()["lost"] == 1
    states = line.states()
    assert states["MIXED"] >= 1
    assert states["DECRYPTED"] >= 2
    name = f"tls1{3 if suite is not GCM12 else 2}_{'chacha20' if suite is CHACHA13 else 'gcm'}"
    counter = line.network.counter
    assert counter(f"stats.ocf.{name}_recrypts") == states["MIXED"]
    decrypts = states["MIXED"] + states.get("ENCRYPTED", 0)
    assert counter(f"stats.ocf.{name}_decrypts") == decrypts
    assert counter("bytes_touched.recrypt") > 0


@pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda suite: suite.name)
def test_ktls_08_what_the_card_has_not_decrypted(network, suite):
    """Every header is lost once, so the card has to be told where it is; then it goes on."""
    line = open_line(network, suite)
    line.far_write(marked(SIZE, 100))
    assert line.read(SIZE) == marked(SIZE, 100)
    pieces = data(16)
    line.network.between("drop", indices=[7, 8, 9])
    line.far_write(*pieces)
    assert line.read(16 * SIZE) == b"".join(pieces)
    states = line.states()
    assert states.get("ENCRYPTED", 0) + states.get("MIXED", 0) >= 1
    line.far_write(*data(4, 50))
    assert line.read(4 * SIZE) == b"".join(data(4, 50))
    assert line.states()["DECRYPTED"] > states.get("DECRYPTED", 0), "the card is back"


@pytest.mark.row("RX-10")
@pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda suite: suite.name)
def test_ktls_08_a_bad_wire(network, suite, scale):
    """Loss at random for long, with threads that decrypt: all three kinds of records."""
    line = open_line(network, suite, pool=ThreadPool(2))
    count = scale(120, 30)
    pieces = data(count)
    line.network.between("lose", to_card=0.02, seed=6)
    line.far_write(*pieces)
    assert line.read(count * SIZE) == b"".join(pieces)
    assert sum(line.states().values()) == count
    assert line.states()["DECRYPTED"]


@every_suite
def test_ktls_08_a_mixed_record_is_authenticated_as_a_whole(network, suite, watch):
    """A byte of the part that the card has decrypted already was changed on the wire. It cannot know
    yet; the tag tells. A record later all is well."""
    watch.allow(Diagnostic.TLS_AUTH)
    line = open_line(network, suite)
    records = [line.end.seal(piece) for piece in data(5)]
    bad = bytearray(b"".join(records))
    bad[2 * len(records[0]) + 200] ^= 1
    line.network.between("drop", indices=[2 * SIZE // 1448 + 3])
    line.far_send(bytes(bad))
    found, errors = line.read_with_errors(4 * SIZE)
    assert found == b"".join(data(2) + data(2, 3))
    assert errors == [errno.EBADMSG]
    assert line.network.counter("stats.failed_crypto") == 1

"""RX-10: mixed records recover in the socket buffer in every order of encrypted and decrypted parts.

Records of OpenSSL, cut into parts, each as it was on the wire or as a card decrypts it. D32356: where
not all of a record was decrypted, what was is encrypted again by the keystream, and the whole is
authenticated. With a card and a wire that loses segments: KTLS-08.
"""

import errno
import random
from itertools import pairwise

import pytest
from harness.ktls import CHACHA13, GCM12, GCM13, OpenSslEnd
from harness.ktls_pipe import Received, parts, random_cuts
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.rx_record import KtlsMbufCryptoState
from tlsnic.driver.ktls.workers import ScheduledPool

pytestmark = pytest.mark.row("RX-10")
SUITES = [GCM12, GCM13, CipherSuite.TLS12_CHACHA20_POLY1305, CHACHA13]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
COUNT = 6
MIXED, ENCRYPTED, DECRYPTED = KtlsMbufCryptoState


@pytest.fixture
def received(suite):
    made = Received(OpenSslEnd.take(suite))
    yield made
    made.end.give_back(None, None)


def cuts_of(wire, layout, kind):
    """Where a record is cut: in its header, its nonce, block by block, in its tag; or evenly."""
    if kind == "inside":
        return [3, layout.prefix_bytes, layout.prefix_bytes + 16, 500, len(wire) - 7]
    return [len(wire) * n // COUNT for n in range(1, COUNT)]


@every_suite
@pytest.mark.parametrize("kind", ["even", "inside"])
def test_rx_10_every_order(received, suite, kind, scale):
    """All of 2^6 patterns, a record each, through one socket."""
    pipe = received.open()
    rx = pipe.so.ktls_rx
    step = scale(1, 5)
    expected = dict.fromkeys(KtlsMbufCryptoState, 0)
    layout = rx.session.params.layout
    for pattern in range(0, 1 << COUNT, step):
        plaintext = marked(1000 + pattern, pattern)
        wire, clear = received.record(plaintext)
        for part, is_clear in parts(wire, clear, cuts_of(wire, layout, kind), pattern):
            pipe.receive(part, decrypted=is_clear)
        pipe.kernel.workers.drain()
        pipe.so.so_rcv.sbcheck()
        message = pipe.so.recvmsg(1 << 16)
        assert message.data == plaintext, f"pattern {pattern:06b}"
        assert message.is_eor
        assert message.control.tls_length == len(plaintext)
        state = MIXED
        if pattern in (0, (1 << COUNT) - 1):
            state = DECRYPTED if pattern else ENCRYPTED
        expected[state] += 1
    assert rx.records == expected
    pipe.close()


@every_suite
def test_rx_10_packets_over_records(received, suite, scale):
    """Packets that begin and end anywhere, each decrypted or not."""
    source = random.Random(suite.name)
    rounds = scale(20, 4)
    for _ in range(rounds):
        pipe = received.open(ScheduledPool(2, seed=source.randrange(1000)))
        plaintexts = [marked(source.randrange(1, 3000), n) for n in range(5)]
        pairs = [received.record(plaintext) for plaintext in plaintexts]
        wire, clear = (b"".join(side) for side in zip(*pairs, strict=True))
        cuts = random_cuts(source, len(wire), 9)
        for part, is_clear in parts(wire, clear, cuts, source.randrange(1 << 10)):
            pipe.receive(part, decrypted=is_clear)
            if source.random() < 0.5:
                pipe.kernel.workers.step()
                pipe.so.so_rcv.sbcheck()
        pipe.kernel.workers.drain()
        assert [pipe.so.recvmsg(1 << 16).data for _ in plaintexts] == plaintexts
        pipe.close()


@every_suite
def test_rx_10_a_mixed_record_that_was_changed(received, suite, scale):
    """One bit anywhere, in what was decrypted or in what was not: never read."""
    source = random.Random(suite.name)
    pipe = received.open()
    for number in range(scale(40, 8)):
        wire, clear = received.record(marked(700, number))
        at = source.randrange(5, len(wire))
        changed = [bytearray(wire), bytearray(clear)]
        for side in changed:
            side[at] ^= 1 << source.randrange(8)
        pattern = source.randrange(1, 7)
        cuts = [len(wire) // 3, 2 * len(wire) // 3]
        for part, is_clear in parts(bytes(changed[0]), bytes(changed[1]), cuts, pattern):
            pipe.receive(part, decrypted=is_clear)
        pipe.kernel.workers.drain()
        with pytest.raises(OSError, match="message") as caught:
            pipe.so.recvmsg(1 << 16)
        assert caught.value.errno == errno.EBADMSG
        good, good_clear = received.record(marked(300, number))
        for part, is_clear in parts(good, good_clear, [100], 1 + number % 2):
            pipe.receive(part, decrypted=is_clear)
        pipe.kernel.workers.drain()
        assert pipe.so.recvmsg(1 << 16).data == marked(300, number)
    pipe.close()


@every_suite
def test_rx_10_decrypted_and_not_are_never_joined(received, suite):
    """Small packets, which the socket buffer would join: only with their like."""
    pipe = received.open()
    wire, clear = received.record(marked(400))
    cuts = list(range(20, len(wire), 20))
    pattern = int("011010011100" * 3, 2)
    for part, is_clear in parts(wire, clear, cuts, pattern):
        pipe.receive(part, decrypted=is_clear)
        sb = pipe.so.so_rcv
        kinds, m = [], sb.sb_mtls
        while m is not None:
            kinds.append(m.m_flags)
            m = m.m_next
        assert all(a != b for a, b in pairwise(kinds)), "joined if alike"
    pipe.kernel.workers.drain()
    assert pipe.so.recvmsg(1 << 16).data == marked(400)
    pipe.close()

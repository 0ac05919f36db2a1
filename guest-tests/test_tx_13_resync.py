"""TX-13, TX-14: bytes are lost inside the host, so that card and stream part; how they meet again.

As Linux's tls-offload document has it ("Resync handling", TX): what is ahead of the card's state
is encrypted in software until the two are in step again, and meanwhile nobody looks at the
expected sequence number.
"""

import pytest

from tlsnic.abi.enums import CipherSuite, Diagnostic, TxStatus
from tlsnic.driver.errors import ResyncPendingError
from tlsnic.driver.tls.send_tag import OutcomeKind, SendTag

IN_ORDER, PRESYNC, SOFTWARE = OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC, OutcomeKind.SOFTWARE
KINDS = {
    "GCM, TLS 1.2": {"suite": CipherSuite.TLS12_AES_256_GCM},
    "GCM, TLS 1.3": {"suite": CipherSuite.TLS13_AES_128_GCM},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.1": {"suite": CipherSuite.TLS11_AES_CBC_SHA1},
    "CBC, MAC then encrypt": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA256,
        "encrypt_then_mac": False,
    },
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA1,
        "encrypt_then_mac": True,
    },
}
TLS10 = {"suite": CipherSuite.TLS10_AES_CBC_SHA1}
every_kind = pytest.mark.parametrize("kind", KINDS)


def record_bytes(flow, *sizes):
    """Write records of so many bytes; their starts as offsets, and where the last one ends."""
    entries = flow.write(*sizes)
    mask = 0xFFFF_FFFF
    return [entry.start_sequence - flow.start & mask for entry in entries] + [
        flow.end - flow.start & mask
    ]


def send(flow, begin, end):
    """Bytes `begin` to `end` of the stream; what was done with them."""
    return flow.send(flow.start + begin, end - begin).kind


@pytest.mark.row("TX-13")
@every_kind
def test_tx_13_lost_inside_a_record(nic, flows, kind):
    """Software up to the next record, then the card; TCP finds the loss and sends it again."""
    flow = flows.open(**KINDS[kind])
    a, b, c, end = record_bytes(flow, 900, 800, 700)
    assert send(flow, a, a + 300) is IN_ORDER
    # a + 300 to a + 500 never reach the card
    assert send(flow, a + 500, b) is SOFTWARE
    assert flow.tag.is_resync_pending
    assert send(flow, b, b + 400) is PRESYNC
    assert not flow.tag.is_resync_pending
    assert send(flow, b + 400, c + 100) is IN_ORDER
    assert send(flow, a + 300, a + 500) is PRESYNC
    assert send(flow, c + 100, end) is IN_ORDER
    flow.check()
    state = flow.tag.query()
    assert state.tcp_sequence == flow.end
    assert state.presynced == 2
    counters = flow.tag.counters
    assert (counters.tx_tls_ooo, counters.tx_tls_encrypted_packets) == (3, 5)
    assert counters.tx_tls_encrypted_bytes == end - (b - a - 500)
    assert nic.counters()["TX_DROP_TLS"] == 0


@pytest.mark.row("TX-13")
@every_kind
def test_tx_13_lost_record_header(flows, kind):
    """The gap has the start of a record, and the next packet goes on over the following one."""
    flow = flows.open(**KINDS[kind])
    a, b, c, d, end = record_bytes(flow, 400, 500, 600, 300)
    assert send(flow, a, b - 50) is IN_ORDER
    assert send(flow, b + 50, c - 100) is SOFTWARE
    assert send(flow, c - 100, c + 200) is SOFTWARE
    assert send(flow, c + 200, d - 1) is SOFTWARE
    assert send(flow, d - 1, d + 1) is SOFTWARE
    assert send(flow, b - 50, b + 10) is PRESYNC
    assert flow.tag.is_resync_pending
    assert send(flow, d + 1, end) is SOFTWARE
    assert send(flow, b + 10, b + 50) is PRESYNC
    flow.check()
    flow.write(200, 100)
    assert [outcome.kind for outcome in flow.send_rest(150)] == [PRESYNC, IN_ORDER, IN_ORDER]
    flow.check()


@pytest.mark.row("TX-13")
@every_kind
def test_tx_13_lost_in_front_of_a_record(flows, kind):
    """The first packet ahead parts the two, whatever it starts with; the next record joins them."""
    flow = flows.open(**KINDS[kind])
    a, b, c, end = record_bytes(flow, 400, 500, 600)
    assert send(flow, b, c) is SOFTWARE
    assert send(flow, c, end) is PRESYNC
    assert send(flow, a, b) is PRESYNC
    flow.check()


@pytest.mark.row("TX-13")
@every_kind
def test_tx_13_stack_names_the_place(flows, kind):
    """`resync()`, Linux's tls_dev_resync(): the flow goes on in the card at the next record."""
    flow = flows.open(**KINDS[kind])
    a, b, end = record_bytes(flow, 900, 200)
    assert send(flow, a + 300, b) is SOFTWARE
    flow.tag.resync(flow.end)
    assert not flow.tag.is_resync_pending
    assert flow.tag.expected_sequence == flow.end
    assert send(flow, b, end) is PRESYNC  # before that place: the card's state stays
    assert send(flow, a, a + 300) is PRESYNC
    flow.check()
    assert flow.tag.query().tcp_sequence == flow.start
    c, d, end = record_bytes(flow, 500, 300)
    assert send(flow, c + 10, d) is SOFTWARE  # lost again
    assert flow.tag.is_resync_pending
    flow.tag.resync(flow.start + d)
    assert send(flow, c, c + 10) is PRESYNC
    assert send(flow, d, d + 77) is PRESYNC
    assert send(flow, d + 77, end) is IN_ORDER
    flow.check()
    assert flow.tag.query().tcp_sequence == flow.end


@pytest.mark.row("TX-13")
def test_tx_13_loss_after_loss(flows):
    """Every second packet is lost; each part by its own way, and all of it is read in the end."""
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    *_, end = record_bytes(flow, 300, 700, 90, 1200, 16, 800)
    step = 105
    assert end // step % 2 == 0, "the last packet is not to be lost"
    lost = []
    for number, at in enumerate(range(0, end, step)):
        if number % 2:
            lost.append(at)
        else:
            send(flow, at, min(at + step, end))
    for at in lost:
        assert send(flow, at, min(at + step, end)) is PRESYNC
    flow.check()


@pytest.mark.row("TX-13")
def test_tx_13_tls_1_0_stays_in_software(flows):
    """The card lacks the ciphertext block before a record that it did not encrypt."""
    flow = flows.open(**TLS10)
    a, b, c, end = record_bytes(flow, 400, 500, 600)
    assert send(flow, a, a + 100) is IN_ORDER
    assert send(flow, a + 200, b) is SOFTWARE
    assert send(flow, b, c) is SOFTWARE
    assert send(flow, a + 100, a + 200) is SOFTWARE
    assert send(flow, c, end) is SOFTWARE
    flow.check()
    flow.tag.resync(flow.end)
    flow.write(100)
    assert {outcome.kind for outcome in flow.send_rest()} == {SOFTWARE}
    flow.check()


@pytest.mark.row("TX-13")
def test_tx_13_tls_1_0_asks_the_card_for_its_chain(flows):
    """Records before the loss are acknowledged, and only the card knows their last block."""
    flow = flows.open(**TLS10)
    a, _, c, d, end = record_bytes(flow, 400, 300, 200, 500)
    assert send(flow, a, c) is IN_ORDER
    flow.tag.ack(flow.start + c)
    assert send(flow, d, end) is SOFTWARE
    assert send(flow, c, d) is SOFTWARE
    flow.check()


@pytest.mark.row("TX-13")
def test_tx_13_loss_across_a_key_update(flows):
    """Lost: the end of the old key's last record and the start of the new key's first one."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM)
    flow.write(500)
    flow.key_update()
    a = flow.end - flow.start & 0xFFFF_FFFF
    b, end = record_bytes(flow, 600, 400)[1:]
    assert send(flow, 0, a - 30) is IN_ORDER
    assert send(flow, a + 40, b) is SOFTWARE
    assert send(flow, b, end) is PRESYNC
    assert send(flow, a - 30, a + 40) is PRESYNC
    flow.check()


@pytest.mark.row("TX-13")
def test_tx_13_card_says_that_they_have_parted(flows, watch):
    """A packet that the driver posted was dropped by the card, and with it all behind it: the
    completions tell the driver, which goes on in software and then at a record."""
    flow = flows.open(CipherSuite.TLS13_CHACHA20_POLY1305)
    a, b, _, end = record_bytes(flow, 2500, 400, 300)
    assert send(flow, a, a + 100) is IN_ORDER
    watch.expect(Diagnostic.TX_LENGTH)
    watch.expect(Diagnostic.TLS_SEQUENCE)
    with flow.queue.batch():
        assert send(flow, a + 100, a + 2300) is IN_ORDER  # longer than MAX_FRAME
        assert send(flow, a + 2300, b) is IN_ORDER
    flow.queue.drain(5)
    assert [drop.status for drop in flow.queue.drops] == [TxStatus.TLS_DROPPED] * 2
    assert flow.tag.is_resync_pending
    assert send(flow, b, b + 50) is PRESYNC
    assert send(flow, b + 50, end) is IN_ORDER
    assert send(flow, a + 100, a + 1300) is PRESYNC
    assert send(flow, a + 1300, b) is PRESYNC
    flow.check()


@pytest.mark.row("TX-14")
@pytest.mark.parametrize("kind", [*KINDS, "TLS 1.0"])
def test_tx_14_no_expected_sequence_while_a_resync_is_pending(flows, monkeypatch, kind):
    """Nothing reads it, and nothing can: it is not there. The number where card and stream parted
    means nothing either, although the card still stands there."""
    read_while_pending = []
    true_property = SendTag.expected_sequence

    def spied(tag):
        if tag.is_resync_pending:
            read_while_pending.append(tag)
        return true_property.fget(tag)

    monkeypatch.setattr(SendTag, "expected_sequence", property(spied))
    flow = flows.open(**(TLS10 if kind == "TLS 1.0" else KINDS[kind]))
    again = SOFTWARE if kind == "TLS 1.0" else PRESYNC
    a, b, c, end = record_bytes(flow, 500, 400, 300)
    assert send(flow, a, a + 200) is IN_ORDER
    assert send(flow, a + 250, a + 300) is SOFTWARE
    assert send(flow, a + 300, b + 10) is SOFTWARE
    assert send(flow, a + 200, a + 250) is again  # starts just where the card still stands
    assert send(flow, a + 300, b) is again
    assert send(flow, b + 10, c + 1) is SOFTWARE
    assert flow.tag.is_resync_pending
    flows.collect()
    assert flow.tag.query().tcp_sequence == flow.start + a + 200 & 0xFFFF_FFFF
    assert not read_while_pending
    with pytest.raises(ResyncPendingError):
        _ = flow.tag.expected_sequence
    assert read_while_pending == [flow.tag]
    assert send(flow, c + 1, end) is SOFTWARE
    flow.check()

"""TX-22: AES-CBC records: padding of every length, implicit and explicit IVs, encrypt-then-MAC.

RFC 2246 section 6.2.3.2, RFC 4346, RFC 5246, RFC 7366. OpenSSL checks every byte of padding, and
records are opened with plain `cryptography` as well, for what it does not tell.
"""

import pytest
from harness.tls_forms import FORMS
from harness.tls_open import open_records
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import BLOCK_BYTES, MAX_PADDING, RecordKind
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("TX-22")

CBC = [form for form in FORMS if form.layout.kind is RecordKind.CBC]
TLS10 = [form for form in CBC if not form.layout.explicit_bytes]
EXPLICIT = [form for form in CBC if form.layout.explicit_bytes]


def write_padded(flow, padding, blocks=1):
    """Add a record with just this padding length, and content for `blocks` more blocks."""
    session = flow.tag.session
    mac = 0 if session.encrypt_then_mac else session.layout.tag_bytes
    size = -(mac + 1 + padding) % BLOCK_BYTES + BLOCK_BYTES * blocks
    entry = flow.write_bytes(marked(size, padding), padding=padding - padding % BLOCK_BYTES)
    assert entry.record.padding == padding
    return entry


@pytest.mark.parametrize("form", CBC, ids=str)
def test_tx_22_padding_of_every_length(flows, form, scale):
    flow = flows.open(**form._asdict())
    lengths = [*range(0, MAX_PADDING + 1, scale(1, 5)), 15, 16, MAX_PADDING]
    for padding in lengths:
        write_padded(flow, padding, padding % 3)
    flow.send_rest(50001, mss=1400)
    found = open_records(flow.tag.session, flow.check())
    assert [record.padding for record in found] == lengths
    assert b"".join(record.content for record in found) == bytes(flow.plaintext)
    # The padding length that the host has in the header's place is not on the wire.
    assert {record.header[1:3] for record in found} == {form.layout.wire_version.to_bytes(2, "big")}


@pytest.mark.parametrize("form", CBC, ids=str)
def test_tx_22_padding_cut_by_packets(flows, form, scale):
    """Packets of the host end inside padding, MAC and blocks, and need a suffix."""
    flow = flows.open(**form._asdict())
    for padding in range(0, MAX_PADDING + 1, scale(17, 51)):
        write_padded(flow, padding)
    flow.send_rest(61)
    found = open_records(flow.tag.session, flow.check())
    assert len(found) == len(flow.records)


@pytest.mark.parametrize("form", TLS10, ids=str)
def test_tx_22_tls10_chains_from_record_to_record(flows, form):
    """The IV of a record is the last ciphertext block before it, from the flow's iv on."""
    flow = flows.open(**form._asdict())
    flow.write(100, 0, 1, 5000, 16, 300)
    flow.send_rest(1000)
    wire = flow.check()
    assert len(open_records(flow.tag.session, wire)) == 6
    state = flow.tag.query()
    assert state.record_iv == wire[-BLOCK_BYTES:]
    # Sent again, in records long past and across them: the card remembers their IVs.
    for first, size in ((0, 300), (200, 1200), (1500, 1200), (10, 20), (len(wire) - 310, 300)):
        assert flow.send(flow.start + first, size).kind is OutcomeKind.PRESYNC
    flow.write(40)
    flow.send_rest()
    flow.check()


@pytest.mark.parametrize("form", TLS10, ids=str)
def test_tx_22_tls10_chains_of_two_flows(flows, form):
    """Their packets alternate, in mid-record."""
    both = [flows.open(**form._asdict()) for _ in range(2)]
    for number in range(8):
        for flow in both:
            flow.write(30 + number, 300)
            flow.send(flow.sent_end, 200)
    for flow in both:
        flow.send_rest()
        flow.check()


@pytest.mark.parametrize("form", EXPLICIT, ids=str)
def test_tx_22_explicit_iv_is_the_hosts(flows, form):
    """It leaves as it is, and is the IV: the same content with another IV is another ciphertext."""
    flow = flows.open(**form._asdict())
    ivs = [bytes(16), b"\xff" * 16, *(flow.random.randbytes(16) for _ in range(4))]
    for iv in ivs:
        flow.write_bytes(marked(64), explicit=iv)
    flow.send_rest(130)
    found = open_records(flow.tag.session, flow.check())
    assert [record.explicit for record in found] == ivs
    wire, length = flow.stream.wire(), len(flow.records.newest.record.data)
    blocks = {wire[at + 21 : at + 37] for at in range(0, len(wire), length)}
    assert len(blocks) == len(ivs)


@pytest.mark.parametrize("form", [form for form in CBC if form.encrypt_then_mac], ids=str)
def test_tx_22_encrypt_then_mac_cut_in_the_mac(flows, form):
    """The MAC is over the ciphertext, which ends before it: cuts on both sides of that."""
    tag_bytes = form.layout.tag_bytes
    flow = flows.open(**form._asdict())
    for before in (tag_bytes + 1, tag_bytes, tag_bytes - 1, tag_bytes // 2, 1, BLOCK_BYTES + 3):
        (entry,) = flow.write(70)
        size = len(entry.record.data)
        flow.send(entry.start_sequence, size - before)
        flow.send(entry.start_sequence + size - before, before)
    flow.check()


def test_tx_22_every_content_length(flows, scale):
    """MAC and padding fall everywhere in the blocks."""
    suites = (CipherSuite.TLS10_AES_CBC_SHA1, CipherSuite.TLS12_AES_CBC_SHA256)
    for form in [form for form in CBC if form.suite in suites][:: scale(1, 2)]:
        flow = flows.open(**form._asdict(), openssl=False)
        flow.write(*range(1, 65))
        flow.send_rest(9000, mss=500)
        found = open_records(flow.tag.session, flow.check())
        assert [len(record.content) for record in found] == [*range(1, 65)]
        assert {record.padding for record in found} == set(range(BLOCK_BYTES))

"""TX-02: nonce, additional data, inner type and padding, by records opened with plain `cryptography`.

The session's record number is not zero and the explicit nonce is not the record number, so that
neither can stand in for the other. As in mlx5 and FreeBSD's uipc_ktls.c, whoever frames the record
chooses the explicit nonce, and it leaves as it is.
"""

import pytest
from cryptography.exceptions import InvalidTag
from harness.tls_forms import FORMS
from harness.tls_open import open_records
from harness.tls_start import make_session
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT, RecordKind
from tlsnic.driver.tls.framing import ALERT, APPLICATION_DATA, HANDSHAKE, HEARTBEAT

pytestmark = pytest.mark.row("TX-02")

NUMBER = 0x0102_0304_0506_0708
TLS12_AEAD = [
    form for form in FORMS if form.layout.version == 0x0303 and not form.layout.mac_key_bytes
]
TLS13 = [form for form in FORMS if form.layout.is_tls13]
CBC = [form for form in FORMS if form.layout.kind is RecordKind.CBC]
GCM12 = [form for form in TLS12_AEAD if form.layout.explicit_bytes]


def open_flow(flows, form, **fields):
    """A flow with made-up keys and a record number of which no byte is like another."""
    return flows.open(session=make_session(**form._asdict(), record_number=NUMBER, **fields))


def sent_records(flow, packet_bytes=1000):
    """Send what is laid out; the records, opened."""
    flow.send_rest(packet_bytes, mss=1400)
    return open_records(flow.tag.session, flow.check())


@pytest.mark.parametrize("form", TLS12_AEAD, ids=str)
def test_tx_02_tls12_number_type_version_and_length(flows, form):
    flow = open_flow(flows, form)
    sizes, kinds = (1, 50, 4000, 255, 256), (APPLICATION_DATA, ALERT, HANDSHAKE, HEARTBEAT)
    written = [(kinds[n % 4], marked(size, n)) for n, size in enumerate(sizes)]
    for kind, content in written:
        flow.write_bytes(content, content_type=kind)
    found = sent_records(flow)
    assert [(record.kind, record.content) for record in found] == written
    for record in found:
        extra = form.layout.explicit_bytes + 16
        length = (len(record.content) + extra).to_bytes(2, "big")
        assert record.header == bytes([record.kind, 3, 3]) + length
    # With any other number nothing opens: 8 bytes of it are in the nonce or additional data.
    for other in (NUMBER ^ 1, NUMBER ^ 1 << 63, NUMBER - (NUMBER & 0xFFFF_FFFF)):
        with pytest.raises(InvalidTag):
            open_records(flow.tag.session, flow.stream.wire(), other)


@pytest.mark.parametrize("form", GCM12, ids=str)
def test_tx_02_explicit_nonce_is_the_hosts(flows, form):
    """RFC 5288 section 3 leaves it to the sender, as long as none comes twice."""
    flow = open_flow(flows, form)
    nonces = [bytes(8), b"\xff" * 8, *(flow.random.randbytes(8) for _ in range(6))]
    for nonce in nonces:
        flow.write_bytes(marked(100), explicit=nonce)
    found = sent_records(flow)
    assert [record.explicit for record in found] == nonces


@pytest.mark.parametrize("form", TLS13, ids=str)
def test_tx_02_tls13_inner_type_and_padding(flows, form):
    """RFC 8446 section 5.2: the header is the additional data, and says nothing of type or size."""
    flow = open_flow(flows, form)
    written = [
        (kind, marked(size, number), padding)
        for number, (kind, size, padding) in enumerate(
            [
                (APPLICATION_DATA, 1, 0),
                (APPLICATION_DATA, 100, 1),
                (HANDSHAKE, 5, 255),
                (ALERT, 2, 256),
                (APPLICATION_DATA, 0, 0),
                (APPLICATION_DATA, 0, 500),
                (APPLICATION_DATA, 1, MAX_PLAINTEXT - 1),
                (HANDSHAKE, 700, 0),
                (APPLICATION_DATA, MAX_PLAINTEXT - 7, 7),
                (APPLICATION_DATA, MAX_PLAINTEXT, 0),
            ]
        )
    ]
    for kind, content, padding in written:
        flow.write_bytes(content, content_type=kind, padding=padding)
    found = sent_records(flow, 20000)
    assert [(record.kind, record.content, record.padding) for record in found] == written
    for record in found:
        length = len(record.content) + 1 + record.padding + 16
        assert record.header == b"\x17\x03\x03" + length.to_bytes(2, "big")
    with pytest.raises(InvalidTag):
        open_records(flow.tag.session, flow.stream.wire(), NUMBER + 1)


def test_tx_02_tls13_content_that_ends_with_zeros(flows):
    """Zeros of the content are not taken for padding: the inner type comes first."""
    flow = open_flow(flows, TLS13[0])
    written = [bytes(100), b"data" + bytes(50), bytes(1)]
    for content in written:
        flow.write_bytes(content, padding=20)
    assert [record.content for record in sent_records(flow)] == written


@pytest.mark.parametrize("version", [0x0301, 0x0302, 0x0303], ids=["1.0", "1.1", "1.2"])
def test_tx_02_mac_covers_number_type_version_and_length(flows, version):
    """The version in the MAC is that on the wire, and not what the host's header has there."""
    kinds = (APPLICATION_DATA, ALERT, HANDSHAKE, APPLICATION_DATA)
    for form in [form for form in CBC if form.layout.version == version]:
        flow = open_flow(flows, form)
        written = [(kind, marked(100 * n + 1, n), n * 16) for n, kind in enumerate(kinds)]
        for kind, content, extra in written:
            flow.write_bytes(content, content_type=kind, padding=extra)
        found = sent_records(flow, 300)
        assert [(record.kind, record.content) for record in found] == [w[:2] for w in written]
        for record, (_, _, extra) in zip(found, written, strict=True):
            assert record.header[1:3] == version.to_bytes(2, "big")
            assert extra <= record.padding < extra + 16
        with pytest.raises(AssertionError, match="wrong MAC"):
            open_records(flow.tag.session, flow.stream.wire(), NUMBER + 1)


@pytest.mark.parametrize("suite", [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_256_GCM])
def test_tx_02_equal_records_differ_on_the_wire(flows, suite):
    flow = flows.open(suite, openssl=False)
    for _ in range(200):
        flow.write_bytes(marked(64))
    flow.send_rest(60000, mss=1400)
    wire = flow.check()
    size = len(wire) // 200
    bodies = {wire[at + size - 80 : at + size] for at in range(0, len(wire), size)}
    assert len(bodies) == 200

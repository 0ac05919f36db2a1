"""TX-01: what leaves the card is what software TLS makes of the same records, and others read it."""

import pytest
from harness.tls_flow import payloads
from harness.tls_forms import FORMS
from harness.tls_start import START
from harness.tls_stream import MARKER

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT

pytestmark = pytest.mark.row("TX-01")

GROUPS = {
    "TLS 1.0": [form for form in FORMS if form.layout.version == 0x0301],
    "TLS 1.1": [form for form in FORMS if form.layout.version == 0x0302],
    "TLS 1.2 AEAD": [
        form for form in FORMS if form.layout.version == 0x0303 and not form.layout.mac_key_bytes
    ],
    "TLS 1.2 CBC": [
        form for form in FORMS if form.layout.version == 0x0303 and form.layout.mac_key_bytes
    ],
    "TLS 1.3": [form for form in FORMS if form.layout.is_tls13],
}


def test_tx_01_the_card_offers_every_form(nic):
    assert sum(map(len, GROUPS.values())) == len(FORMS)
    offered = nic.capabilities.tls_tx_suites
    for form in FORMS:
        assert offered & form.suite, form
    assert offered & CipherSuite.ENCRYPT_THEN_MAC


@pytest.mark.parametrize("group", GROUPS)
def test_tx_01_equals_software_and_openssl_reads_it(flows, group):
    """Records of many sizes in packets that are sent whole, and in packets that the card cuts."""
    for form in GROUPS[group]:
        flow = flows.open(**form._asdict())
        assert flow.tls.is_openssl is form.is_registered
        assert len(flow.tls.session.key) == form.key_bytes
        flow.write(1, 15, 16, 17, 300, 1400)
        flow.send_rest(1000)
        flow.write(0 if form.layout.is_tls13 else 2, 5000, MAX_PLAINTEXT, 31)
        flow.send_rest(30000, mss=1380)
        wire = flow.check()
        assert len(wire) == flow.end - START & 0xFFFF_FFFF, form
        assert MARKER in flow.plaintext


@pytest.mark.parametrize("ip", ["IP", "IPv6"])
@pytest.mark.parametrize(
    "suite", [CipherSuite.TLS12_AES_256_GCM, CipherSuite.TLS13_AES_128_GCM], ids=["1.2", "1.3"]
)
def test_tx_01_tshark_decrypts_the_connection(flows, peer, suite, ip):
    """From the frames of the wire alone, with the key log of OpenSSL's side."""
    from harness.tls import handshake_frames  # noqa: PLC0415 - slow to import in a guest

    flow = flows.open(suite, ip=ip)
    flow.write(20, 3000, MAX_PLAINTEXT)
    flow.send_rest(8000, mss=1300)
    flow.send(flow.start + 100, 500)  # sent again, as is usual on a wire
    sent = flows.collect()
    assert len(payloads(sent)) == len(sent)
    flow.check()
    before = handshake_frames(
        flow.tls.flights,
        sequence=flow.start,
        peer_sequence=flow.peer_sequence,
        nic_mac=flow.mac,
        ip=ip,
        ports=(flow.address.local_port, flow.address.remote_port),
    )
    found = peer.decrypt(before + sent, flow.tls.key_log, port=flow.address.remote_port)
    plaintext = bytes(flow.plaintext)
    assert found["from_client"] == [plaintext[:20], plaintext[20:3020], plaintext[3020:]]

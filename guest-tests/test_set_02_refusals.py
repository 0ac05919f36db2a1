"""SET-02, SET-04, SET-07, SET-08 for transmit: what the card does not take is refused with a reason, changes
nothing, and the connection goes on in software. (Linux's tls-offload.rst: "If the device is not
able to offload, the connection stays in software"; FreeBSD's ktls_try_ifnet does the same.)
"""

import pytest
from harness.tls_start import START, create, flow_block, make_session

from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Diagnostic,
    TlsFlowFlags,
    TxFlags,
    TxStatus,
)
from tlsnic.abi.structures import TlsFlow
from tlsnic.abi.suites import MAX_PLAINTEXT, MIN_PLAINTEXT_LIMIT
from tlsnic.driver.errors import CommandError, SendTagRefused
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tls.session import FlowAddress

GCM = CipherSuite.TLS12_AES_128_GCM
FIELD = Diagnostic.COMMAND_FIELD
UNSUPPORTED, BAD_FIELD = CommandStatus.UNSUPPORTED, CommandStatus.BAD_FIELD
OTHER_VERSIONS = (0, 0x0300, 0x0301, 0x0302, 0x0304, 0x0305, 0xFFFF)
REFUSALS = [
    *[({"tls_version": v}, UNSUPPORTED, TlsFlow.OFFSET_TLS_VERSION) for v in OTHER_VERSIONS],
    ({"suite": 0}, UNSUPPORTED, TlsFlow.OFFSET_SUITE),
    ({"suite": 1 << 20}, UNSUPPORTED, TlsFlow.OFFSET_SUITE),
    ({"suite": 1 << 63}, UNSUPPORTED, TlsFlow.OFFSET_SUITE),
    ({"suite": GCM | CipherSuite.TLS12_AES_256_GCM}, UNSUPPORTED, TlsFlow.OFFSET_SUITE),
    ({"suite": CipherSuite.ENCRYPT_THEN_MAC}, UNSUPPORTED, TlsFlow.OFFSET_SUITE),
    ({"flags": TlsFlowFlags.ENCRYPT_THEN_MAC}, UNSUPPORTED, TlsFlow.OFFSET_FLAGS),
    *[({"key_length": n}, BAD_FIELD, TlsFlow.OFFSET_KEY_LENGTH) for n in (0, 15, 24, 32, 33)],
    *[({"iv_length": n}, BAD_FIELD, TlsFlow.OFFSET_IV_LENGTH) for n in (0, 8, 12, 65535)],
    ({"mac_key_length": 20}, BAD_FIELD, TlsFlow.OFFSET_MAC_KEY_LENGTH),
    ({"max_plaintext": MIN_PLAINTEXT_LIMIT - 1}, BAD_FIELD, TlsFlow.OFFSET_MAX_PLAINTEXT),
    ({"max_plaintext": MAX_PLAINTEXT + 1}, BAD_FIELD, TlsFlow.OFFSET_MAX_PLAINTEXT),
    ({"ip_version": 5}, BAD_FIELD, TlsFlow.OFFSET_IP_VERSION),
    ({"direction": 2}, BAD_FIELD, TlsFlow.OFFSET_DIRECTION),
    ({"vlan_id": 5}, BAD_FIELD, TlsFlow.OFFSET_VLAN_ID),
    ({"vlan_id": 4095, "flags": TlsFlowFlags.VLAN}, BAD_FIELD, TlsFlow.OFFSET_VLAN_ID),
    ({"flags": TlsFlowFlags.RATE_LIMIT}, BAD_FIELD, TlsFlow.OFFSET_RATE_BYTES_PER_S),
]


def carry(flow, kind=OutcomeKind.IN_ORDER):
    """The connection works, and it is known who encrypts."""
    flow.write(2000)
    assert {outcome.kind for outcome in flow.send_rest()} == {kind}
    flow.check()


def stays_in_software(flow, status):
    """The card refuses the connection; the reason is told, and it goes on."""
    with pytest.raises(SendTagRefused) as caught:
        flow.offload()
    assert caught.value.status == status
    assert caught.value.reason
    carry(flow, OutcomeKind.SOFTWARE)
    return caught.value


@pytest.mark.row("SET-02")
def test_set_02_refused_with_a_reason(nic, watch, flows):
    session = make_session(GCM)
    flow = flows.open(software=True)
    other = flows.open()
    for changes, status, detail in REFUSALS:
        if status == BAD_FIELD:
            watch.expect(FIELD)  # no driver should write these
        with pytest.raises(CommandError) as caught:
            create(nic, flow_block(session, flow.address, **changes))
        assert (caught.value.status, caught.value.detail) == (status, detail), changes
        watch.collect()
    assert nic.counters()["TX_TLS_CTX"] == 1
    carry(flow, OutcomeKind.SOFTWARE)
    carry(other)
    flow.offload()  # nothing of the attempts stands in the way
    carry(flow)


@pytest.mark.row("SET-02")
def test_set_02_every_reserved_flag(nic, watch, flows, scale):
    session, address = make_session(GCM), flows.address()
    known = sum(TlsFlowFlags)
    for bit in range(16)[:: scale(1, 5)]:
        if not known >> bit & 1:
            watch.expect(Diagnostic.COMMAND_RESERVED)
            with pytest.raises(CommandError) as caught:
                create(nic, flow_block(session, address, flags=1 << bit))
            assert caught.value.status == CommandStatus.RESERVED_BITS
    assert nic.counters()["TX_TLS_CTX"] == 0


@pytest.mark.row("SET-02")
def test_set_02_driver_keeps_keys_from_a_card_that_lacks_the_suite(nic, flows, monkeypatch):
    lacking = nic.capabilities._replace(tls_tx_suites=int(CipherSuite.TLS13_AES_128_GCM))
    monkeypatch.setattr(nic, "capabilities", lacking)
    posted = nic.admin.status().tail
    error = stays_in_software(flows.open(software=True), UNSUPPORTED)
    assert "suite" in error.reason
    assert nic.admin.status().tail == posted, "the card was asked"


@pytest.mark.row("SET-04")
def test_set_04_duplicate_is_refused(nic, flows):
    """The first flow does not notice; the second connection's stack goes on in software."""
    first = flows.open()
    carry(first)
    other_keys = make_session(CipherSuite.TLS13_AES_256_GCM, seed=4)
    for session, sequence in ((first.session, START), (other_keys, START + 5)):
        with pytest.raises(SendTagRefused) as caught:
            nic.snd_tag_alloc(session, first.address, sequence)
        assert caught.value.status == CommandStatus.DUPLICATE
    carry(first)
    assert nic.counters()["TX_TLS_CTX"] == 1
    first.free()
    first.offload()
    carry(first)


@pytest.mark.row("SET-04")
def test_set_04_v4_mapped_is_the_same_connection(nic, flows):
    first = flows.open()
    mapped = [bytes(10) + b"\xff\xff" + end for end in first.address[1:3]]
    block = flow_block(
        make_session(GCM, seed=5),
        first.address,
        ip_version=6,
        local_address=mapped[0],
        remote_address=mapped[1],
    )
    with pytest.raises(CommandError) as caught:
        create(nic, block)
    assert caught.value.status == CommandStatus.DUPLICATE
    carry(first)


@pytest.mark.row("SET-04")
def test_set_04_one_difference_is_another_connection(nic, flows):
    first = flows.open()
    address = first.address
    others = [
        address._replace(local_port=address.local_port + 100),
        address._replace(remote_port=444),
        address._replace(remote_address=b"\xc0\0\2\x63"),
        address._replace(local_address=b"\xc0\0\2\x63"),
        address._replace(vlan_id=1),
        address._replace(vlan_id=2),
        FlowAddress.make("2001:db8::1", address.local_port, "2001:db8::2", 443),
        # Seen from the far end: no connection of ours, but none that is there already.
        FlowAddress(4, address[2], address[1], address[4], address[3]),
    ]
    made = [flows.open(openssl=False, address=one) for one in others]
    assert len({flow.tag.handle for flow in (first, *made)}) == 1 + len(others)
    carry(first)


@pytest.mark.row("SET-07")
def test_set_07_switched_off(nic, flows):
    """Flows that exist go on, with all they can do; new ones stay in software (as Linux's
    NETIF_F_HW_TLS_TX)."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM)
    carry(flow)
    again = flow.start, flow.end - flow.start & 0xFFFF_FFFF
    nic.tx_tls = False
    assert not nic.tx_tls
    carry(flow)
    assert flow.send(*again, mss=1400).kind is OutcomeKind.PRESYNC
    flow.key_update()
    carry(flow)
    stays_in_software(flows.open(software=True), CommandStatus.DISABLED)
    assert nic.counters()["TX_TLS_CTX"] == 1
    nic.tx_tls = True
    carry(flow)
    carry(flows.open())


@pytest.mark.row("SET-08")
def test_set_08_tls_needs_transmit_checksums(nic, flows):
    """Checksums off switches TLS off, and TLS on is refused (Linux's netdev_fix_features)."""
    flow = flows.open()
    nic.tx_checksum = False
    assert not nic.tx_tls
    with pytest.raises(ValueError, match="checksum"):
        nic.tx_tls = True
    stays_in_software(flows.open(software=True), CommandStatus.DEPENDENCY)
    carry(flow)
    nic.tx_checksum = True
    nic.tx_tls = True
    carry(flows.open())


@pytest.mark.row("SET-08")
@pytest.mark.parametrize("flags", [0, TxFlags.IP_CHECKSUM], ids=["none", "ip"])
def test_set_08_card_drops_tls_without_checksum(nic, watch, flows, flags):
    """Nothing leaves, and the stream goes on where it was."""
    flow = flows.open()
    carry(flow)
    flow.write(500)
    length = flow.end - flow.sent_end & 0xFFFF_FFFF
    headers = flow.headers(flow.sent_end, length)
    watch.expect(Diagnostic.OFFLOAD_DEPENDENCY)
    nic.tx[0].send(
        headers + flow.records.read(flow.sent_end, length),
        send_tag=flow.tag.handle,
        header_length=len(headers),
        flags=TxFlags.TLS | flags,
        report=True,
    )
    nic.tx[0].drain(5)
    assert [drop.status for drop in nic.tx[0].drops] == [TxStatus.TLS_DROPPED]
    assert flows.collect() == []
    carry(flow)

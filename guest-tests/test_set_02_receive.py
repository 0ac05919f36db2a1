"""SET-02, SET-04, SET-07, SET-08 for receive: what the card does not take is refused with a reason,
changes nothing, and the connection goes on in software, on packets as they are on the wire.
"""

import pytest
from harness.tls_rx_flow import AEAD_SUITES, AS_ON_WIRE, DECRYPTED, NONE
from harness.tls_start import START, create, flow_block, make_session

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import (
    CipherSuite,
    CommandStatus,
    Diagnostic,
    Offload,
    TlsDirection,
    TlsFeature,
    TlsFlowFlags,
)
from tlsnic.abi.structures import TlsFlow
from tlsnic.abi.suites import MAX_PLAINTEXT, MIN_PLAINTEXT_LIMIT, SUITES
from tlsnic.driver.errors import CommandError, SendTagRefused
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.session import FlowAddress

GCM = CipherSuite.TLS12_AES_128_GCM
UNSUPPORTED, BAD_FIELD = CommandStatus.UNSUPPORTED, CommandStatus.BAD_FIELD
CBC_SUITES = [suite for suite in SUITES if suite not in AEAD_SUITES]
REFUSALS = [
    *[
        ({"tls_version": version}, UNSUPPORTED, TlsFlow.OFFSET_TLS_VERSION)
        for version in (0, 0x0300, 0x0301, 0x0302, 0x0304, 0xFFFF)
    ],
    *[({"suite": bit}, UNSUPPORTED, TlsFlow.OFFSET_SUITE) for bit in (0, 1 << 20, 1 << 63)],
    ({"suite": GCM | CipherSuite.TLS12_AES_256_GCM}, UNSUPPORTED, TlsFlow.OFFSET_SUITE),
    ({"flags": TlsFlowFlags.ENCRYPT_THEN_MAC}, BAD_FIELD, TlsFlow.OFFSET_FLAGS),
    (
        {"flags": TlsFlowFlags.RATE_LIMIT, "rate_bytes_per_s": 1000},
        BAD_FIELD,
        TlsFlow.OFFSET_FLAGS,
    ),
    *[({"key_length": n}, BAD_FIELD, TlsFlow.OFFSET_KEY_LENGTH) for n in (0, 15, 24, 32, 33)],
    *[({"iv_length": n}, BAD_FIELD, TlsFlow.OFFSET_IV_LENGTH) for n in (0, 8, 12, 65535)],
    ({"mac_key_length": 20}, BAD_FIELD, TlsFlow.OFFSET_MAC_KEY_LENGTH),
    ({"max_plaintext": MIN_PLAINTEXT_LIMIT - 1}, BAD_FIELD, TlsFlow.OFFSET_MAX_PLAINTEXT),
    ({"max_plaintext": MAX_PLAINTEXT + 1}, BAD_FIELD, TlsFlow.OFFSET_MAX_PLAINTEXT),
    ({"ip_version": 5}, BAD_FIELD, TlsFlow.OFFSET_IP_VERSION),
    ({"direction": 2}, BAD_FIELD, TlsFlow.OFFSET_DIRECTION),
    ({"vlan_id": 5}, BAD_FIELD, TlsFlow.OFFSET_VLAN_ID),
    ({"vlan_id": 4095, "flags": TlsFlowFlags.VLAN}, BAD_FIELD, TlsFlow.OFFSET_VLAN_ID),
]


def carry(flow, how=DECRYPTED):
    """The connection works, and it is known who decrypts."""
    flow.write(2000, 1)
    flow.send_rest()
    assert set(flow.states()) == {how}
    flow.check()


def refused(nic, session, address, **changes):
    """The card refuses the flow; status and detail."""
    block = flow_block(session, address, **{"direction": TlsDirection.RECEIVE, **changes})
    with pytest.raises(CommandError) as caught:
        create(nic, block)
    return caught.value.status, caught.value.detail


def stays_in_software(rx_flows, status):
    """The card refuses a connection; the reason is told, and it goes on."""
    with pytest.raises(SendTagRefused) as caught:
        rx_flows.open(openssl=False)
    assert caught.value.status == status
    assert caught.value.reason
    carry(rx_flows.open(openssl=False, resync=None), NONE)
    return caught.value


@pytest.mark.row("SET-02")
def test_set_02_receive_refused_with_a_reason(nic, watch, rx_flows):
    session = make_session(GCM)
    flow = rx_flows.open(resync=None)
    other = rx_flows.open()
    for changes, status, detail in REFUSALS:
        if status == BAD_FIELD:
            watch.expect(Diagnostic.COMMAND_FIELD)  # no driver should write these
        assert refused(nic, session, flow.address, **changes) == (status, detail), changes
        watch.collect()
    for suite in CBC_SUITES:
        found = refused(nic, make_session(suite), flow.address)
        assert found == (UNSUPPORTED, TlsFlow.OFFSET_SUITE), suite
    assert nic.counters()["RX_TLS_CTX"] == 1
    carry(flow, NONE)
    carry(other)
    # Nothing of the attempts stands in the way.
    carry(rx_flows.go_on(flow))


@pytest.mark.row("SET-02")
def test_set_02_driver_keeps_keys_from_a_card_that_cannot_use_them(nic, rx_flows, monkeypatch):
    """It lacks the suite, or the way to find its place again."""
    have = nic.capabilities
    assert have.tls_rx_suites == sum(AEAD_SUITES)
    posted = nic.admin.status().tail
    lacking = have._replace(tls_rx_suites=int(CipherSuite.TLS13_AES_128_GCM))
    monkeypatch.setattr(nic, "capabilities", lacking)
    assert "suite" in stays_in_software(rx_flows, UNSUPPORTED).reason
    lacking = have._replace(tls_features=have.tls_features & ~TlsFeature.RX_RESYNC_TAG)
    monkeypatch.setattr(nic, "capabilities", lacking)
    with pytest.raises(SendTagRefused, match="RX_RESYNC_TAG") as caught:
        rx_flows.open(openssl=False, resync=Resync.BOTH)
    assert caught.value.status == UNSUPPORTED
    assert nic.admin.status().tail == posted, "the card was asked"
    carry(rx_flows.open(openssl=False))


@pytest.mark.row("SET-04")
def test_set_04_duplicate_receive_is_refused(nic, rx_flows):
    """The first flow does not notice, wherever in its stream it is."""
    first = rx_flows.open()
    carry(first)
    first.write(3000)
    first.send(first.sent_end, first.end - 1000)
    first.collect()
    other_keys = make_session(CipherSuite.TLS13_AES_256_GCM, seed=4)
    for session, sequence in ((first.session, START), (other_keys, START + 5)):
        with pytest.raises(SendTagRefused) as caught:
            nic.rcv_tag_alloc(session, first.address, sequence)
        assert caught.value.status == CommandStatus.DUPLICATE
    mapped = [bytes(10) + b"\xff\xff" + end for end in first.address[1:3]]
    changes = {"ip_version": 6, "local_address": mapped[0], "remote_address": mapped[1]}
    status, _ = refused(nic, make_session(GCM, seed=5), first.address, **changes)
    assert status == CommandStatus.DUPLICATE
    carry(first)
    assert nic.counters()["RX_TLS_CTX"] == 1


@pytest.mark.row("SET-04")
def test_set_04_one_difference_is_another_receive_connection(nic, flows, rx_flows):
    """And so is the other direction of the same one."""
    first = rx_flows.open()
    address = first.address
    others = [
        address._replace(local_port=address.local_port + 100),
        address._replace(remote_port=444),
        address._replace(remote_address=b"\xc0\0\2\x63"),
        address._replace(local_address=b"\xc0\0\2\x63"),
        address._replace(vlan_id=1),
        address._replace(vlan_id=2),
        FlowAddress.make("2001:db8::1", address.local_port, "2001:db8::2", 443),
        FlowAddress(4, address[2], address[1], address[4], address[3]),
    ]
    tags = [nic.rcv_tag_alloc(make_session(GCM, seed=n), one, n) for n, one in enumerate(others)]
    outbound = flows.open(openssl=False, address=address)
    handles = {tag.handle for tag in (first.tag, outbound.tag, *tags)}
    assert len(handles) == 2 + len(others)
    carry(first)
    for tag in tags:
        tag.free()
    carry(first)


@pytest.mark.row("SET-07")
def test_set_07_receive_switched_off(nic, rx_flows):
    """Flows that exist go on, with all they can do; new ones stay in software (as Linux's
    NETIF_F_HW_TLS_RX)."""
    flow = rx_flows.open(CipherSuite.TLS13_AES_128_GCM, openssl=False)
    carry(flow)
    nic.offloads &= ~Offload.RX_TLS
    carry(flow)
    start = flow.end
    flow.write(1000, 1000, 1000)
    third = flow.records[-1].start
    flow.send(start, start + 200)
    flow.send(third - 10, third + 500)
    flow.collect()
    flow.send(start + 200, third - 10)
    flow.send(third + 500, flow.end)
    flow.asked(1)
    flow.check()
    flow.settled()
    session = flow.key_update()
    flow.send_rest()
    flow.collect()
    flow.read()
    flow.receiver.rekey(session)
    carry(flow)
    stays_in_software(rx_flows, CommandStatus.DISABLED)
    assert nic.counters()["RX_TLS_CTX"] == 1
    nic.offloads |= Offload.RX_TLS
    carry(flow)
    carry(rx_flows.open(openssl=False))


@pytest.mark.row("SET-08")
def test_set_08_receive_tls_needs_receive_checksums(nic, rx_flows):
    """The driver refuses the one without the other. Without checksums there is nothing that a card
    could trust: packets of flows that exist come as on the wire."""
    flow = rx_flows.open()
    carry(flow)
    for offloads in (Offload.RX_TLS, Offload.RX_TLS | Offload.VLAN_STRIP):
        with pytest.raises(ValueError, match="RX_CHECKSUM"):
            nic.offloads = offloads
    before = nic.offloads
    assert Offload.RX_TLS | Offload.RX_CHECKSUM in before
    nic.offloads = Offload(0)
    stays_in_software(rx_flows, CommandStatus.DISABLED)
    flow.write(1000, 1000)
    flow.send_rest()
    assert set(flow.states()) == {AS_ON_WIRE}
    flow.check()
    nic.offloads = before
    carry(rx_flows.open(openssl=False))


@pytest.mark.row("SET-08")
def test_set_08_card_enforces_the_dependency(nic, watch, rx_flows):
    """For a driver that does not know it."""
    flow = rx_flows.open()
    carry(flow)
    watch.expect(Diagnostic.OFFLOAD_DEPENDENCY)
    before = nic.access.read32(reg.OFFLOAD_ENABLE)
    nic.access.write32(reg.OFFLOAD_ENABLE, before & ~Offload.RX_CHECKSUM)
    stays_in_software(rx_flows, CommandStatus.DEPENDENCY)
    flow.write(1000)
    flow.send_rest()
    assert set(flow.states()) == {AS_ON_WIRE}
    nic.access.write32(reg.OFFLOAD_ENABLE, before)
    flow.check()
    carry(rx_flows.open(openssl=False))

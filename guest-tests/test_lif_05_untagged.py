"""LIF-05: what has no TLS flag is never encrypted, and does not touch the flow: with the flow's
addresses, ports and sequence numbers it leaves byte for byte as the host wrote it. So it is with
Linux and FreeBSD, whose packets without send tag are none of the card's business.

The plaintext of these packets has no marker, and they are kept out of the flows' streams.
"""

import pytest
from harness.tls_flow import payloads
from harness.tls_raw import Packet, in_order
from harness.tls_start import create, flow_block
from harness.traffic import noise

from tlsnic.abi.enums import CipherSuite, Diagnostic, TxFlags, TxStatus
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("LIF-05")

MASK = 0xFFFF_FFFF
CHECKSUMS = TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM
KINDS = {
    "GCM": {"suite": CipherSuite.TLS12_AES_128_GCM},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "GCM, IPv6": {"suite": CipherSuite.TLS13_AES_256_GCM, "ip": "IPv6"},
    "GCM, VLAN": {"suite": CipherSuite.TLS12_AES_256_GCM, "vlan": 9},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def plain(flow, sequence, payload, *, mss=0, queue=None):
    """A packet of the connection, as it is."""
    (queue or flow.queue).send(
        flow.headers(sequence & MASK, len(payload)) + payload,
        checksum=not mss,
        mss=mss,
        vlan=flow.address.vlan_id,
    )


def came(flows, sequence, payload, *, packets=1):
    """Takes the frames of a plain packet off the wire; they are just that."""
    for queue in flows.nic.tx:
        queue.flush()
    found = payloads(flows.peer.receive_many(packets))
    assert found[0][0] == sequence & MASK
    assert b"".join(data for _, data in found) == payload


def tls_counters(nic):
    return {name: count for name, count in nic.counters().items() if "TLS" in name}


def like_a_record(flow, size):
    """Looks just like what the card is given for the flow's next record."""
    record = flow.framer.frame(23, noise(size, 5))
    flow.framer.next_number -= 1
    return record.data


@every_kind
def test_lif_05_same_connection_and_sequence_numbers(nic, flows, kind):
    """Before, at and behind the card's place; in the middle of a record, too."""
    flow = flows.open(**KINDS[kind])
    flow.write(600, 500)
    flow.send(flow.start, 400)
    flow.check()
    state, before = flow.tag.query(), tls_counters(nic)
    for at in (0, 200, 400, 401, 5000, -1000, 1 << 31):
        for size in (1, 130):
            payload = noise(size, at & MASK)
            plain(flow, flow.start + at, payload)
            came(flows, flow.start + at, payload)
    payload = like_a_record(flow, 300)
    plain(flow, flow.start + 400, payload)
    came(flows, flow.start + 400, payload)
    payload = noise(2500, 7)
    plain(flow, flow.start + 400, payload, mss=1000)
    came(flows, flow.start + 400, payload, packets=3)
    assert flow.tag.query() == state
    assert tls_counters(nic) == before
    assert {outcome.kind for outcome in flow.send_rest(250)} == {OutcomeKind.IN_ORDER}
    flow.check()


@pytest.mark.nic(tx_queues=2)
@pytest.mark.parametrize("number", [0, 1], ids=["same queue", "another queue"])
def test_lif_05_between_packets_of_the_flow(nic, flows, number):
    """In one batch, in turns."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM)
    flow.write(3000)
    size, step = flow.end - flow.start & MASK, 500
    sent = []
    with nic.tx[0].batch(), nic.tx[1].batch():
        for at in range(0, size, step):
            flow.send(flow.start + at, min(step, size - at))
            sent.append((flow.start + at & MASK, noise(min(step, size - at) - 1, at)))
            plain(flow, *sent[-1], queue=nic.tx[number])
    found = payloads(flows.peer.receive_many(2 * len(sent)))
    left = [each for each in found if each not in sent]
    assert len(left) == len(sent), "a plain packet was changed or is missing"
    assert left == [(at, flow.expected(at, len(content) + 1)) for at, content in sent]
    assert flow.tag.query().tcp_sequence == flow.end


@every_kind
def test_lif_05_after_destroy(flows, kind):
    """And before the flow was made."""
    flow = flows.open(**KINDS[kind], software=True, openssl=False)
    for way in ("before", "after"):
        for at in (0, 77):
            payload = noise(700, at)
            plain(flow, flow.start + at, payload)
            came(flows, flow.start + at, payload)
        if way == "before":
            flow.offload()
            flow.write(400)
            flow.send_rest()
            flow.check()
            flow.free()


@pytest.mark.parametrize("handle", ["own", "stale", "forged"])
def test_lif_05_handle_without_the_flag(nic, watch, flows, raw, handle):
    """The interface reserves the field then: such a packet contradicts itself and is not sent,
    neither in clear nor encrypted."""
    flow = flows.open()
    flow.write(500, 400)
    flow.send(flow.start, 300)
    flow.check()
    stale = flows.open(openssl=False)
    number = {"own": flow.tag.handle, "stale": stale.tag.handle, "forged": 1 << 31 | 5}[handle]
    stale.free()
    state, before = flow.tag.query(), tls_counters(nic)
    packet = in_order(flow, state.tcp_sequence, 200)
    for flags, header_length in ((CHECKSUMS, 0), (TxFlags(0), 0), (CHECKSUMS, None)):
        watch.expect(Diagnostic.TX_FLAGS)
        completion = raw.post(
            packet._replace(handle=number, flags=flags, header_length=header_length)
        )
        assert completion.status == TxStatus.BAD_PACKET
    assert flows.collect() == []
    assert flow.tag.query() == state
    assert tls_counters(nic) == before
    flow.send_rest()
    flow.check()


def test_lif_05_flag_of_another_descriptor_does_not_count(nic, watch, flows, raw):
    """TLS on a later descriptor of the packet makes it neither TLS nor good."""
    flow = flows.open()
    flow.write(500)
    state = flow.tag.query()
    packet = in_order(flow, state.tcp_sequence, 200)._replace(
        handle=0, flags=CHECKSUMS, header_length=0
    )

    def tagged_later(chain):
        yield chain[0]
        yield chain[1]._replace(flags=chain[1].flags | TxFlags.TLS, send_tag=flow.tag.handle)

    watch.expect(Diagnostic.TLS_HANDLE)
    assert raw.post(packet._replace(edit=tagged_later)).status == TxStatus.TLS_DROPPED
    assert flows.collect() == []
    assert flow.tag.query() == state
    flow.send_rest()
    flow.check()


def test_lif_05_other_direction_and_half_a_match(nic, flows):
    """Plain packets of connections that differ in one part from one that has a flow."""
    flow = flows.open()
    flow.write(700)
    flow.send(flow.start, 300)
    flow.check()
    state, right = flow.tag.query(), flow.address
    turned = right._replace(
        local_address=right.remote_address,
        remote_address=right.local_address,
        local_port=right.remote_port,
        remote_port=right.local_port,
    )
    for address in (turned, right._replace(local_port=9), right._replace(remote_port=9)):
        flow.address = address
        payload = noise(444, address.local_port)
        plain(flow, state.tcp_sequence, payload)
        came(flows, state.tcp_sequence, payload)
    flow.address = right
    assert flow.tag.query() == state
    flow.send_rest()
    flow.check()


def test_lif_05_packet_without_flow_but_flag(nic, watch, flows, raw):
    """The other way round: with the flag and no flow nothing leaves at all."""
    flow = flows.open(software=True, openssl=False)
    flow.write(500)
    packet = Packet(flow.headers(flow.start, 300), flow.records.read(flow.start, 300), handle=0)
    watch.expect(Diagnostic.TLS_HANDLE)
    assert raw.post(packet).status == TxStatus.TLS_DROPPED
    handle = create(nic, flow_block(flow.session, flow.address))
    assert raw.post(packet._replace(handle=handle)).status == TxStatus.OK
    flow.sent_end = flow.start + 300 & MASK
    flow.check()

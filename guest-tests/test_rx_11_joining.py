"""RX-11: decrypted and undecrypted data are never joined: not by the card, from segments or from
super-frames, and not in the socket buffer. Joined or not, a packet has one mark for all of it.
"""

import base64
import contextlib
import itertools
import random

import pytest
from harness.peer import MAC as PEER_MAC
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, ReceiveFlows

from tlsnic.abi.enums import CipherSuite, Diagnostic, Offload, RxFlags
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tls.receive_stream import Offloaded, TlsReceiver

pytestmark = [
    pytest.mark.row("RX-11"),
    # A packet of 64 KiB fits in the ring.
    pytest.mark.nic(rx_entries=256),
]
KINDS = [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_CHACHA20_POLY1305]
every_kind = pytest.mark.parametrize("suite", KINDS, ids=lambda suite: suite.name)
SEGMENT = 500
RECORD = 1500
"""Bytes on the wire of most records here: three segments."""
LONG_US, SHORT_US = 65535, 2000
SYN, ACK, PSH = 0x02, 0x10, 0x08


@pytest.fixture
def joining(nic):
    """The card with coalescing on: for longer than a burst takes."""
    nic.offloads |= Offload.RX_CHECKSUM | Offload.RX_COALESCE
    nic.set_rx_coalesce(LONG_US)
    return nic


def write(flow, records=1, size=RECORD):
    """Records of so many bytes on the wire."""
    layout = flow.session.layout
    overhead = layout.prefix_bytes + layout.tag_bytes + layout.is_tls13
    return flow.write(*[size - overhead] * records)


def segments(flow, begin, end):
    """Frames with these bytes of the stream."""
    flow.sent_end = max(flow.sent_end, end)
    return [flow.frame(at, min(at + SEGMENT, end)) for at in range(begin, end, SEGMENT)]


def groups(flow):
    """Segments and state of each packet that has come."""
    return [(one.segments, one.state) for one in flow.collect()]


@every_kind
def test_rx_11_decrypted_segments_are_joined(joining, rx_flows, suite):
    """The packet's count of records is that of its segments together."""
    flow = rx_flows.open(suite)
    write(flow, 8)
    flow.send_rest(mss=SEGMENT)
    (one,) = flow.collect()
    assert (one.state, one.segments, one.records) == (DECRYPTED, 24, 8)
    assert one.packet.rx_flags & RxFlags.COALESCED
    assert one.packet.flow == flow.tag.handle
    assert flow.check() == {Offloaded.FULLY: 8}


@every_kind
def test_rx_11_loss_and_recovery(joining, rx_flows, suite):
    """Segments that follow each other come on the wire's side of the line, then on the other."""
    flow = rx_flows.open(suite)
    write(flow, 6)
    fourth = flow.records[3].start
    rx_flows.send(
        *segments(flow, 0, 2 * SEGMENT),  # what is behind it is lost
        *segments(flow, RECORD, fourth + 20),
        # Content of the fourth record is lost.
        *segments(flow, fourth + SEGMENT, flow.end),
        # And comes again.
        *segments(flow, 2 * SEGMENT, RECORD),
        *segments(flow, fourth + 20, fourth + SEGMENT),
    )
    assert groups(flow) == [
        (2, DECRYPTED),
        (7, DECRYPTED),  # the last one is shorter and ends it
        (2, AS_ON_WIRE),
        (6, DECRYPTED),
        (1, AS_ON_WIRE),
        (1, AS_ON_WIRE),
    ]
    assert flow.check() == {Offloaded.FULLY: 4, Offloaded.PARTLY: 2}


@every_kind
def test_rx_11_failed_authentication(joining, rx_flows, watch, suite):
    """The packet that it was found in is for itself; those behind it are joined as on the wire."""
    flow = rx_flows.open(suite, reader=False)
    write(flow, 4)
    watch.expect(Diagnostic.TLS_AUTH)
    payload = bytearray(flow.payload(2 * SEGMENT, RECORD))
    payload[-1] ^= 1
    rx_flows.send(
        *segments(flow, 0, 2 * SEGMENT),
        flow.frame(2 * SEGMENT, RECORD, payload=bytes(payload)),
        *segments(flow, RECORD, flow.end),
    )
    found = groups(flow)
    assert found[-2:] == [(1, AUTH_FAILED), (9, AS_ON_WIRE)]


def test_rx_11_the_packet_with_a_question(joining, rx_flows):
    """RESYNC is of the packet that has the header that is asked for."""
    flow = rx_flows.open()
    write(flow, 5)
    rx_flows.send(*segments(flow, 0, RECORD), *segments(flow, RECORD + SEGMENT, flow.end))
    arrived = flow.collect()
    assert [(one.segments, one.state) for one in arrived] == [
        (3, DECRYPTED),
        (2, AS_ON_WIRE),
        (1, AS_ON_WIRE),
        (8, AS_ON_WIRE),
    ]
    flow.asked(1)
    (asking,) = [one for one in arrived if one.packet.rx_flags & RxFlags.RESYNC]
    assert asking is arrived[2]
    assert flow.tag.question.tcp_sequence == flow.at(asking.start)
    flow.send(RECORD, RECORD + SEGMENT)
    flow.check()


def test_rx_11_damaged_packet(joining, rx_flows):
    """A wrong checksum ends what is joined, and the packet behind it starts anew."""
    flow = rx_flows.open()
    write(flow, 3)
    rx_flows.send(
        *segments(flow, 0, RECORD),
        flow.frame(RECORD, RECORD + SEGMENT, bad="tcp"),
        *segments(flow, RECORD, flow.end),
    )
    assert groups(flow) == [(3, DECRYPTED), (1, AS_ON_WIRE), (6, DECRYPTED)]
    flow.check()


def test_rx_11_flows_side_by_side(joining, rx_flows):
    """Two flows of TLS, one of them in a loss, and one of none: each is joined for itself."""
    good, lossy = rx_flows.open(KINDS[0]), rx_flows.open(KINDS[1])
    plain = rx_flows.open(KINDS[0], resync=None)
    for flow in (good, lossy, plain):
        write(flow, 4)
    side_by_side = zip(*[segments(flow, 0, flow.end) for flow in (good, lossy, plain)], strict=True)
    frames = [frame for together in side_by_side for frame in together]
    del frames[3 + 1]  # the second one of the lossy flow
    rx_flows.send(*frames)
    assert groups(good) == [(12, DECRYPTED)]
    assert groups(lossy) == [(1, DECRYPTED), (1, AS_ON_WIRE), (9, DECRYPTED)]
    assert {one.packet.flow for one in plain.collect()} == {0}
    assert [one.segments for one in plain.arrived] == [12]
    lossy.send(SEGMENT, 2 * SEGMENT)
    for flow in (good, lossy, plain):
        flow.check()


def test_rx_11_any_losses(joining, rx_flows, scale):
    """Whatever is joined, every byte is what the mark says, and what was written is read."""
    joining.set_rx_coalesce(SHORT_US)
    source = random.Random(11)
    flow = rx_flows.open(KINDS[1])
    for _ in range(scale(15, 3)):
        write(flow, 12, source.choice([RECORD, 700, 2250]))
        cuts = [*range(flow.sent_end, flow.end, SEGMENT), flow.end]
        pairs = list(itertools.pairwise(cuts))
        late = [pair for pair in pairs if source.random() < 0.1]
        flow.sent_end = flow.end
        rx_flows.send(*[flow.frame(*pair) for pair in pairs if pair not in late])
        rx_flows.send(*[flow.frame(*pair) for pair in late])
        flow.collect()
        flow.read()
        flow.settled()
    flow.check()
    joined = {one.state for one in flow.arrived if one.segments > 1}
    assert joined == {AS_ON_WIRE, DECRYPTED}


def test_rx_11_socket_buffer(joining, peer, rx_flows):
    """The driver's TCP hands up pieces, each decrypted or not, also when they came out of order; the
    receiver encrypts the decrypted parts of mixed records again."""
    from tlsnic.driver.tcp import Connection, Endpoint, TcpConfig  # noqa: PLC0415 - slow in a guest
    from tlsnic.driver.tcp.host import Host  # noqa: PLC0415

    joining.set_rx_coalesce(SHORT_US)
    flow = rx_flows.open(KINDS[0], resync=None, reader=False)
    address = flow.address
    endpoint = Endpoint(
        joining.mac_address,
        PEER_MAC,
        address.local_address,
        address.remote_address,
        address.local_port,
        address.remote_port,
    )
    host = Host(joining, ["192.0.2.1"])
    connection = host.add(Connection(endpoint, TcpConfig(initial_sequence=0)))
    connection.listen()
    peer.send(flow.frame(-1, -1, tcp_flags=SYN))
    assert host.run(lambda: connection.snd_nxt == 1, 5.0)
    peer.send(flow.frame(0, 0))
    assert host.run(lambda: connection.established, 5.0)
    receiver = TlsReceiver(host, connection, flow.session)
    pieces = []
    read_marked = connection.read_marked

    def noted():
        new = read_marked()
        pieces.extend(new)
        return new

    connection.read_marked = noted
    write(flow, 6)
    cuts = range(0, flow.end, SEGMENT)
    first = [at for at in cuts if at not in (SEGMENT, 3 * SEGMENT)]
    peer.send(*[flow.frame(at, at + SEGMENT) for at in first])
    peer.send(*[flow.frame(at, at + SEGMENT) for at in (SEGMENT, 3 * SEGMENT)])
    expected = len(flow.plaintext)
    assert host.run(lambda: receiver.readable == expected, 5.0)
    assert receiver.read() == flow.plaintext
    assert receiver.records[Offloaded.PARTLY] >= 1
    at = 0
    for data, mark in pieces:
        end = at + len(data)
        assert data == (flow.clear if mark else flow.wire)[at:end], f"bytes {at} to {end}"
        at = end
    assert {mark for _, mark in pieces} == {False, True}
    receiver.free(5.0)
    connection.abort(0)


# A wire that has super-frames: the second card's, which is a TAP of the host's.

SEND = """
import base64, socket, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR: linux/if_packet.h
out.bind(("tap0", 0))
for word in sys.argv[1:]:
    out.send(base64.b64decode(word))
"""
NEEDS_CSUM, GSO_TCPV4 = 1, 1


class SuperFrames:
    """The far end of that wire: what is sent at once is one super-frame."""

    def __init__(self, peer):
        self.peer = peer
        self.words = []

    def send(self, *frames):
        if not frames:
            return
        first, size = frames[0], len(frames[0]) - 54
        payload = b"".join(frame[54:] for frame in frames)
        length = 20 + len(payload)
        pseudo = first[26:34] + length.to_bytes(4, "big") + b"\0\0\0\6"
        total = int.from_bytes(pseudo, "big") % 0xFFFF
        headers = first[:16] + (20 + length).to_bytes(2, "big") + first[18:24] + b"\0\0"
        headers += first[26:50] + total.to_bytes(2, "big") + first[52:54]
        words = int.from_bytes(headers[14:34], "big") % 0xFFFF
        headers = headers[:24] + (words ^ 0xFFFF).to_bytes(2, "big") + headers[26:]
        vnet = bytes([NEEDS_CSUM, GSO_TCPV4]) + b"".join(
            field.to_bytes(2, "little") for field in (54, size, 34, 16)
        )
        self.words.append(base64.b64encode(vnet + headers + payload).decode())

    def flush(self):
        """Put all of it on the wire."""
        self.peer.stack("run", argv=["python3", "-c", SEND, *self.words])
        self.words = []


@pytest.fixture
def super_flows(environment, peer):
    """Receive flows of the second card, with coalescing on."""
    from tlsnic.driver.bus import open_bus  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        bus = stack.enter_context(open_bus(environment.traffic_bus_spec()))
        nic = stack.enter_context(Nic.attach(bus, NicOptions(rx_entries=256)))
        nic.offloads |= Offload.RX_CHECKSUM | Offload.RX_COALESCE
        nic.set_rx_coalesce(SHORT_US)
        flows = ReceiveFlows(nic, SuperFrames(peer))
        flows.has_strangers = True  # the Linux stack of that namespace
        stack.callback(flows.close)
        yield flows


@pytest.mark.root
@pytest.mark.deadline(60)
@every_kind
def test_rx_11_super_frames(super_flows, suite):
    """One is followed as a whole, has one mark, and is joined with nothing."""
    flow = super_flows.open(suite)
    mss = 1000
    write(flow, 3, 16000)
    flow.send(0, 18000, mss=mss)
    flow.send(19000, 25000, mss=mss)  # inside the record with the loss
    flow.send(25000, 40000, mss=mss)  # the third record begins in it
    flow.send(40000, 48000, mss=mss)
    write(flow, 2, 16000)
    flow.send(48000, 79000, mss=mss)
    flow.send(79000, 80000, mss=mss)
    flow.send(18000, 19000, mss=mss)
    super_flows.peer.flush()
    arrived = flow.collect()
    assert [(one.segments, one.state, one.records) for one in arrived] == [
        (18, DECRYPTED, 1),
        (6, AS_ON_WIRE, 0),
        (15, DECRYPTED, 1),
        (8, DECRYPTED, 1),
        (31, DECRYPTED, 1),
        (1, DECRYPTED, 1),
        (1, AS_ON_WIRE, 0),
    ]
    assert flow.check() == {Offloaded.FULLY: 4, Offloaded.PARTLY: 1}
    assert flow.query().questions == 0

"""TX-17: packets that do not say what the card knows, as raw descriptors: never plaintext.

Each is dropped with its diagnostic, leaves the card's state as it was, and the next good packet is
encrypted right.
"""

import random
from typing import NamedTuple

import pytest
from harness.tls_flow import Flow
from harness.tls_raw import RawPackets, in_order, presynced, state_of, suffix_of
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite, Diagnostic, PresyncFlags, TxFlags, TxStatus
from tlsnic.abi.structures import TlsPresync
from tlsnic.abi.suites import RecordKind
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("TX-17")

MASK = 0xFFFF_FFFF
KINDS = {
    "GCM, TLS 1.2": {"suite": CipherSuite.TLS12_AES_128_GCM},
    "GCM, TLS 1.3": {"suite": CipherSuite.TLS13_AES_256_GCM},
    "ChaCha20, TLS 1.2": {"suite": CipherSuite.TLS12_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA256,
        "encrypt_then_mac": True,
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS)
SEQUENCE, PRESYNC = Diagnostic.TLS_SEQUENCE, Diagnostic.TLS_PRESYNC
RECORD, TUPLE, HANDLE = Diagnostic.TLS_RECORD, Diagnostic.TLS_TUPLE, Diagnostic.TLS_HANDLE
SIZES = (600, 700, 500)


class Stand(NamedTuple):
    """A flow whose second record of three is half sent."""

    flow: Flow
    raw: RawPackets
    starts: list[int]
    """TCP sequence numbers of the records."""
    here: int
    """Next TCP sequence number."""


class Told:
    """Posts lies, and holds the card to what it must do with each."""

    def __init__(self, nic, flows, watch, stand):
        self.nic, self.flows, self.watch, self.stand = nic, flows, watch, stand
        self._state = self._known()
        self._dropped = nic.counters()["TX_DROP_TLS"]
        self.count = 0

    def _known(self):
        return state_of(self.stand.flow)._replace(not_offloaded=0, out_of_order=0)

    def lie(self, name, packet, code):
        self.watch.expect(code)
        completion = self.stand.raw.post(packet)
        found = Diagnostic(completion.detail).name if completion.status else "sent"
        assert (completion.status, found) == (TxStatus.TLS_DROPPED, code.name), name
        self.count += 1

    def end(self):
        """Nothing came of them; then the stream goes on, and OpenSSL reads it."""
        assert self._known() == self._state, "a lie moved the card's state"
        assert self.nic.counters()["TX_DROP_TLS"] - self._dropped == self.count
        assert self.flows.collect() == []
        flow, raw = self.stand.flow, self.stand.raw
        raw.go_on(flow, 150)
        again = presynced(flow, self.stand.starts[0] + 40, 300)
        assert raw.post(again).status == TxStatus.OK
        while left := flow.end - flow.sent_end & MASK:
            raw.go_on(flow, min(left, 400))
        flow.check()


@pytest.fixture
def stand(flows, raw, request):
    flow = flows.open(**KINDS[request.param])
    entries = flow.write(*SIZES)
    starts = [entry.start_sequence for entry in entries]
    raw.go_on(flow, starts[1] + 200 - flow.start & MASK)
    flow.flows.collect()
    return Stand(flow, raw, starts, starts[1] + 200 & MASK)


@pytest.fixture
def told(nic, flows, watch, stand):
    return Told(nic, flows, watch, stand)


on_every_stand = pytest.mark.parametrize("stand", KINDS, indirect=True)
on_one_stand = pytest.mark.parametrize("stand", ["GCM, TLS 1.3"], indirect=True)


@on_every_stand
def test_tx_17_wrong_sequence(stand, told):
    """Without a presync block only what is next in order can be encrypted."""
    flow, here = stand.flow, stand.here
    length = 100
    good = in_order(flow, here, length)
    for ahead in (1, -1, 16, -16, 100, -100, 1000, 1 << 16, -(1 << 16), 1 << 31, (1 << 31) - 1):
        packet = good._replace(headers=flow.headers(here + ahead, length))
        told.lie(f"the right bytes, {ahead} off", packet, SEQUENCE)
    for start in stand.starts:
        told.lie("where a record starts", in_order(flow, start, length), SEQUENCE)
    told.lie("further on", in_order(flow, here + 200, length), SEQUENCE)
    told.lie("behind the records", good._replace(headers=flow.headers(flow.end, length)), SEQUENCE)
    told.end()


@on_one_stand
@pytest.mark.parametrize("ip", ["IP", "IPv6"])
def test_tx_17_wrong_connection(nic, flows, stand, told, ip):
    """Another address, port or VLAN than the flow's, with the rest all right."""
    flow = stand.flow
    if ip == "IPv6":
        other = flows.open(CipherSuite.TLS13_AES_256_GCM, openssl=False, ip=ip)
        other.write(400)
        stand.raw.go_on(other, 100)
        flows.collect()
        flow = other
    here = state_of(flow).tcp_sequence
    good = in_order(flow, here, 100)
    place = 26 if ip == "IP" else 22
    width = 4 if ip == "IP" else 16
    ports = place + 2 * width
    for name, byte in {
        "source": place,
        "last byte of source": place + width - 1,
        "destination": place + width,
        "last byte of destination": place + 2 * width - 1,
        "source port": ports,
        "destination port": ports + 3,
    }.items():
        headers = bytearray(good.headers)
        headers[byte] ^= 1
        told.lie(name, good._replace(headers=bytes(headers)), TUPLE)
    ends = bytearray(good.headers)
    ends[place : place + 2 * width] = (
        ends[place + width : place + 2 * width] + (ends[place : place + width])
    )
    told.lie("the ends swapped", good._replace(headers=bytes(ends)), TUPLE)
    tagged = flow.headers(here, 100, vlan_inline=7)
    told.lie("a VLAN tag", good._replace(headers=tagged), TUPLE)
    inserted = good._replace(flags=good.flags | TxFlags.VLAN_INSERT, vlan_tci=7)
    told.lie("a VLAN tag to insert", inserted, TUPLE)
    both = presynced(flow, here - 50, 50)
    headers = bytearray(both.headers)
    headers[ports] ^= 1
    told.lie("with a presync block", both._replace(headers=bytes(headers)), TUPLE)
    other_headers = bytearray(good.headers)
    other_headers[ports - 11 if ip == "IP" else 20] ^= 0x11  # protocol: TCP no more
    told.lie("not TCP", good._replace(headers=bytes(other_headers)), Diagnostic.TX_CHECKSUM)
    told.end()


@on_one_stand
def test_tx_17_wrong_handle(nic, flows, stand, told):
    """Zero, invented, another flow's, of another generation, and that of a flow that is gone."""
    flow = stand.flow
    other = flows.open(openssl=False)
    gone = flows.open(openssl=False)
    old = gone.tag.handle
    gone.tag.free()
    good = in_order(flow, stand.here, 100)
    own = flow.tag.handle
    told.lie("another flow's", good._replace(handle=other.tag.handle), TUPLE)
    for handle in (0, 1, own ^ 1 << 31, own + (1 << 18), own ^ 1 << 17, MASK, own & 0x3FFFF):
        told.lie(f"{handle:#x}", good._replace(handle=handle), HANDLE)
    told.lie("of a flow that is gone", good._replace(handle=old), Diagnostic.TLS_DESTROYED)
    block = presynced(flow, stand.starts[0], 100)
    told.lie("with a presync block", block._replace(handle=old), Diagnostic.TLS_DESTROYED)
    told.end()


@on_every_stand
def test_tx_17_wrong_place_in_the_block(stand, told):
    """Records that start elsewhere, have another number, or end before the packet starts."""
    flow, (first, second, third) = stand.flow, stand.starts
    numbers = [entry.record.number for entry in flow.records]
    good = presynced(flow, second + 30, 100)

    def changed(packet=good, **fields):
        block = TlsPresync.unpack_from(packet.presync)._replace(**fields)
        return packet._replace(presync=block.pack())

    for number in (numbers[1] - 1, numbers[1] + 1, numbers[2] + 1, 0, 1 << 32, (1 << 64) - 1):
        if number != numbers[1]:
            told.lie(f"number {number}", changed(record_number=number), PRESYNC)
    for start in (first, third, second + 131 & MASK, second - 1 & MASK, second + (1 << 31) & MASK):
        told.lie(f"start {start:#x}", changed(tcp_sequence=start), PRESYNC)
    told.lie("from before the flow", changed(tcp_sequence=flow.start - 5 & MASK), PRESYNC)
    behind = presynced(flow, second + 150, 50)
    head = TlsPresync.unpack_from(behind.presync).record_header
    short = head[:3] + (100).to_bytes(2, "big") + head[5:]
    is_cbc = flow.tag.session.layout.kind is RecordKind.CBC  # 100 bytes are no whole blocks
    told.lie(
        "a record that ends before",
        changed(behind, record_header=short),
        RECORD if is_cbc else PRESYNC,
    )
    for moves in (False, True):
        behind = presynced(flow, first + 100, 100, moves=moves)
        told.lie(
            "first record with a number that is too low",
            changed(behind, record_number=(numbers[0] - 1) % (1 << 64)),
            PRESYNC,
        )
        told.lie(
            "third record with the second's number",
            changed(presynced(flow, third, 100, moves=moves), record_number=numbers[1]),
            PRESYNC,
        )
    told.end()


@on_every_stand
def test_tx_17_wrong_record_header(stand, told):
    """In a block, and in the data where a record starts: type, version, length."""
    flow, (first, second, _) = stand.flow, stand.starts
    header = flow.records.get(second).record.data[:5]
    lies = {
        "type 0": b"\0" + header[1:],
        "change cipher spec": b"\x14" + header[1:],
        "type 25": b"\x19" + header[1:],
        "version": header[:1] + b"\2" + header[2:],
        "length 0": header[:3] + b"\0\0",
        "too short for a tag": header[:3] + b"\0\x0f",
        "too long": header[:3] + b"\xff\xff",
        "one too long": header[:3] + (16384 + 2049).to_bytes(2, "big"),
    }
    block = presynced(flow, second + 30, 100)
    for name, lie in lies.items():
        fields = TlsPresync.unpack_from(block.presync)
        wrong = fields._replace(record_header=lie + fields.record_header[5:])
        told.lie(f"block: {name}", block._replace(presync=wrong.pack()), RECORD)
    whole = presynced(flow, first, 100)
    for name, lie in lies.items():
        data = whole._replace(payload=lie + whole.payload[5:])
        told.lie(f"data alone: {name}", data, PRESYNC)
        fields = TlsPresync.unpack_from(whole.presync)
        wrong = fields._replace(record_header=lie + fields.record_header[5:])
        told.lie(f"data and block: {name}", data._replace(presync=wrong.pack()), RECORD)
    into = presynced(flow, second - 60, 200)
    for name, lie in lies.items():
        payload = into.payload[:60] + lie + into.payload[65:]
        told.lie(f"later in the data: {name}", into._replace(payload=payload), RECORD)
    told.end()


@on_every_stand
def test_tx_17_wrong_header_in_order(stand, told):
    """The record that begins next, in a packet without a block."""
    flow, here = stand.flow, stand.here
    left = stand.starts[2] - here & MASK
    good = in_order(flow, here, left + 100)
    for at, wrong in ((0, 99), (0, 20), (1, 7), (3, 0xFF)):
        payload = bytearray(good.payload)
        payload[left + at] = wrong
        told.lie(f"byte {at} is {wrong}", good._replace(payload=bytes(payload)), RECORD)
    told.end()


@on_every_stand
def test_tx_17_missing_or_wrong_prefix(stand, told):
    """Where the tag needs it, or the cipher, or the state that moves into the record."""
    flow, (first, second, _) = stand.flow, stand.starts
    tag = second - 10 & MASK
    into_tag = presynced(flow, tag, 10)
    assert into_tag.prefix

    def said(packet, flags, length):
        block = TlsPresync.unpack_from(packet.presync)._replace(flags=flags, prefix_length=length)
        return packet._replace(presync=block.pack())

    size = len(into_tag.prefix)
    told.lie("none", said(into_tag, 0, 0)._replace(prefix=b""), PRESYNC)
    moving = presynced(flow, first + 100, 50, moves=True)
    assert moving.prefix
    none = said(moving, PresyncFlags.UPDATE_STATE, 0)._replace(prefix=b"")
    told.lie("none, and the state moves", none, PRESYNC)
    told.lie("promised only", into_tag._replace(prefix=b""), PRESYNC)
    told.lie("not announced", said(into_tag, 0, 0), PRESYNC)
    told.lie("without its flag", said(into_tag, 0, size), PRESYNC)
    told.lie("flag without length", said(into_tag, PresyncFlags.PREFIX, 0), PRESYNC)
    for length in (1, size - 1, size + 1):
        both = said(into_tag, PresyncFlags.PREFIX, length)
        cut = both._replace(prefix=into_tag.prefix[:length].ljust(length, b"x"))
        told.lie(f"{length} bytes of {size}", cut, PRESYNC)
        told.lie(f"{length} bytes said, {size} there", both, PRESYNC)
    long = into_tag._replace(prefix=into_tag.prefix * 3)
    told.lie("three times", long, PRESYNC)
    told.end()


@pytest.mark.parametrize("stand", ["CBC, TLS 1.0", "CBC, encrypt then MAC"], indirect=True)
def test_tx_17_missing_or_wrong_suffix(stand, told):
    """A packet that ends inside a cipher block needs the rest of it."""
    flow, here = stand.flow, stand.here
    length = next(n for n in range(100, 120) if len(suffix_of(flow, here + n)) == 15)
    for name, good in {
        "in order": in_order(flow, here, length),
        "again": presynced(flow, here + length - 50, 50),
    }.items():
        assert len(good.suffix) == 15
        told.lie(f"none, {name}", good._replace(suffix=b""), PRESYNC)
        told.lie(f"one byte, {name}", good._replace(suffix=good.suffix[:1]), PRESYNC)
        told.lie(f"one byte short, {name}", good._replace(suffix=good.suffix[:-1]), PRESYNC)
        told.lie(f"too long, {name}", good._replace(suffix=good.suffix + b"x"), PRESYNC)
        told.lie(f"very long, {name}", good._replace(suffix=bytes(5000)), PRESYNC)
    told.end()


@on_every_stand
def test_tx_17_block_itself(stand, told):
    """Its size, its reserved bits."""
    good = presynced(stand.flow, stand.starts[0] + 30, 100)
    told.lie("too short", good._replace(presync=good.presync[:-1]), PRESYNC)
    told.lie("too long", good._replace(presync=good.presync + b"\0"), PRESYNC)
    told.lie("tiny", good._replace(presync=b"\0"), PRESYNC)
    told.lie("empty of content", good._replace(presync=bytes(TlsPresync.SIZE)), PRESYNC)
    told.lie("all ones", good._replace(presync=b"\xff" * TlsPresync.SIZE), PRESYNC)
    for bit in (3, 15):
        flags = TlsPresync.unpack_from(good.presync).flags | 1 << bit
        wrong = TlsPresync.unpack_from(good.presync)._replace(flags=flags)
        told.lie(f"flag {bit}", good._replace(presync=wrong.pack()), PRESYNC)
    for byte in (40, 47):
        reserved = bytearray(good.presync)
        reserved[byte] = 1
        told.lie(f"reserved byte {byte}", good._replace(presync=bytes(reserved)), PRESYNC)
    told.end()


@on_one_stand
def test_tx_17_descriptors_in_disorder(stand, told):
    """Blocks, prefixes and suffixes in other places than theirs, and flags beside theirs."""
    good = presynced(stand.flow, stand.starts[1] - 10, 10)._replace(suffix=b"12345")
    flags = Diagnostic.TX_FLAGS

    def marked(descriptor, bits):
        return descriptor._replace(flags=descriptor.flags | bits)

    orders = {  # block, prefix, headers, payload, suffix
        "block behind the prefix": (1, 0, 2, 3, 4),
        "block last": (1, 2, 3, 4, 0),
        "block behind the data": (2, 3, 0, 4),
        "two blocks": (0, 0, 1, 2, 3, 4),
        "prefix behind the data": (0, 2, 3, 1, 4),
        "prefix between the data": (0, 2, 1, 3, 4),
        "prefix without a block": (1, 2, 3, 4),
        "suffix before the data": (0, 1, 4, 2, 3),
        "suffix between the data": (0, 1, 2, 4, 3),
        "nothing but a block": (0,),
        "nothing but block and prefix": (0, 1),
    }
    for name, order in orders.items():
        packet = good._replace(edit=lambda chain, order=order: [chain[at] for at in order])
        told.lie(name, packet, flags)
    for at, bits in (
        (0, TxFlags.PREFIX),
        (0, TxFlags.TLS),
        (0, TxFlags.REPORT),
        (1, TxFlags.SUFFIX),
        (1, TxFlags.L4_CHECKSUM),
        (3, TxFlags.TLS),
        (4, TxFlags.VLAN_INSERT),
    ):

        def edit(chain, at=at, bits=bits):
            return [marked(d, bits) if n == at else d for n, d in enumerate(chain)]

        told.lie(f"{bits!r} in descriptor {at}", good._replace(edit=edit), flags)
    no_tls = good._replace(flags=TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM)
    told.lie("data without TLS", no_tls, flags)
    for at in (0, 1, 4):

        def named(chain, at=at):
            return [
                d._replace(send_tag=stand.flow.tag.handle) if n == at else d
                for n, d in enumerate(chain)
            ]

        told.lie(f"handle in descriptor {at}", good._replace(edit=named), flags)
    told.lie("no checksum", good._replace(flags=TxFlags.TLS), Diagnostic.OFFLOAD_DEPENDENCY)
    for length in (0, 53, 55, 14, 600):
        wrong = good._replace(header_length=length)
        told.lie(f"header_length {length}", wrong, Diagnostic.TX_HEADER)
    told.end()


@every_kind
def test_tx_17_random_damage(flows, raw, watch, scale, kind):
    """One bit of a block, a prefix or headers: dropped, or encrypted, but never in clear.

    What the card cannot know to be wrong it encrypts; it must not take place on this stream then.
    """
    suite = KINDS[kind]["suite"]
    session = make_session(suite, encrypt_then_mac=KINDS[kind].get("encrypt_then_mac", False))
    flow = flows.open(suite, session=session)
    starts = [entry.start_sequence for entry in flow.write(400, 500, 300)]
    raw.go_on(flow, starts[1] + 300 - flow.start & MASK)
    flow.check()
    for code in (PRESYNC, RECORD, SEQUENCE, TUPLE, Diagnostic.TX_HEADER, Diagnostic.TX_CHECKSUM):
        watch.allow(code)
    source = random.Random(kind)
    seen = {TxStatus.OK: 0, TxStatus.TLS_DROPPED: 0}
    for _ in range(scale(400, 30)):
        at = source.randrange(0, starts[1] + 200 - flow.start & MASK)
        packet = presynced(flow, flow.start + at, source.randrange(24, 120))
        part = source.choice(["presync", "presync", "prefix", "headers"])
        damaged = bytearray(getattr(packet, part) or packet.presync)
        if damaged:
            bit = source.randrange(8 * len(damaged))
            damaged[bit >> 3] ^= 1 << (bit & 7)
        part = part if getattr(packet, part) else "presync"
        completion = raw.post(packet._replace(**{part: bytes(damaged)}))
        seen[TxStatus(completion.status)] += 1
        if completion.status == TxStatus.OK:
            flows.scanner.check([flows.peer.receive()])
    assert all(seen.values()), seen
    right = presynced(flow, state_of(flow).tcp_sequence, 1, moves=True)
    assert raw.post(right).status == TxStatus.OK
    raw.go_on(flow, flow.end - state_of(flow).tcp_sequence & MASK)
    flow.check()


def test_tx_17_driver_learns_of_it(flows, raw, watch):
    """A packet out of order in the name of the driver's own flow: its completion tells the
    driver, which does not trust the card's state any more, until a record starts."""
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    flow.write(400, 300)
    flow.send(flow.start, 100)
    watch.expect(SEQUENCE)
    assert raw.post(in_order(flow, flow.start + 200 & MASK, 100)).status == TxStatus.TLS_DROPPED
    assert flow.tag.is_resync_pending
    kinds = [outcome.kind for outcome in flow.send_rest(150)]
    assert kinds[0] is OutcomeKind.SOFTWARE
    flow.write(50)
    assert flow.send_rest()[0].kind is OutcomeKind.PRESYNC
    flow.check()

"""STA-01 (transmit): what each counter means, as the exact change in each case, and no other change.

Names and meaning are those of Linux's Documentation/networking/tls-offload.rst. The driver counts
packets that it is handed, in the kernel's sense: a segmented one is one packet. The card counts what
reaches it with TLS, under the same names where they are the same thing.
"""

import pytest
from harness.fixtures import await_link
from harness.tls_flow import payloads
from harness.tls_raw import NOWHERE, Packet, in_order, presynced, state_of
from harness.tls_start import START

from tlsnic.abi.enums import CipherSuite, Diagnostic, PresyncFlags, TxFlags, TxStatus
from tlsnic.abi.structures import TlsPresync
from tlsnic.driver.errors import SendTagDeadError, SendTagRefused
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tx import DmaRange

pytestmark = pytest.mark.row("STA-01")
MASK = 0xFFFF_FFFF
KERNEL_NAMES = {
    "tx_tls_encrypted_packets",
    "tx_tls_encrypted_bytes",
    "tx_tls_ctx",
    "tx_tls_ooo",
    "tx_tls_skip_no_sync_data",
    "tx_tls_drop_no_sync_data",
    "tx_tls_drop_bypass_req",
}
KINDS = {
    "GCM": {"suite": CipherSuite.TLS13_AES_128_GCM},
    "CBC": {"suite": CipherSuite.TLS12_AES_CBC_SHA256, "encrypt_then_mac": True},
}
HANDSHAKE = bytes(range(250))
"""What went before the first record."""
FLOW_STATE = {
    "packets": "encrypted_packets",
    "payload_bytes": "encrypted_bytes",
    "out_of_order": "ooo",
    "presynced": "presync",
}
"""Fields of a flow's own state, and the card's counters that sum them up."""


class Tally:
    """The TLS counters of driver and card, without "tx_tls_", and their changes.

    The card's also has "dropped", which is TX_DROP_TLS.
    """

    def __init__(self, nic):
        self.nic = nic
        self.before = self.now()

    def now(self):
        found = self.nic.statistics()
        card = {name.lower(): n for name, n in found.items() if "_TLS_" in name}
        card["tx_tls_dropped"] = found["TX_DROP_TLS"]
        return self.nic.tls_counters.as_dict(), card

    def changes(self):
        """Of driver and card, since this was called last; only what has changed."""
        before, self.before = self.before, self.now()
        return tuple(
            {
                name.removeprefix("tx_tls_"): n - old[name]
                for name, n in new.items()
                if n != old[name]
            }
            for old, new in zip(before, self.before, strict=True)
        )


def encrypted(length, packets=1):
    return {"encrypted_packets": packets, "encrypted_bytes": length}


def test_sta_01_names(nic):
    """The driver has all of the kernel's, and so has the card, in capitals."""
    names = set(nic.tls_counters.as_dict())
    assert names == KERNEL_NAMES | {"tx_tls_del"}
    assert names <= {name.lower() for name in nic.counters()}
    assert not any(nic.tls_counters.as_dict().values())
    registers, command = nic.counters(), nic.statistics()
    assert {n for n in registers if "TLS" in n} == {n for n in command if "TLS" in n}


class Sender:
    """A flow of three records, of which the first is sent, and what sending more of it counts."""

    def __init__(self, nic, flows, kind):
        self.flows = flows
        self.flow = flows.open(**KINDS[kind], openssl=False)
        entries = self.flow.write(900, 1200, 700)
        starts = [entry.start_sequence - START & MASK for entry in entries]
        self.begin, self.second, self.third = starts
        self.end = self.flow.end - START & MASK
        self.send(0, self.second)
        flows.collect()
        self.tally = Tally(nic)
        self.tag_before = self.flow.tag.counters.as_dict()
        self.state_before = state_of(self.flow)

    def send(self, begin, end, **options):
        """Bytes `begin` to `end` of the stream; what became of them."""
        return self.flow.send(START + begin, end - begin, **options).kind

    def counts(self, driver, card, case):
        """The changes are these and no others, in total and of this flow; on driver and card."""
        self.flows.collect()
        assert self.tally.changes() == (driver, card), case
        before, self.tag_before = self.tag_before, self.flow.tag.counters.as_dict()
        change = {name[7:]: n - before[name] for name, n in self.tag_before.items()}
        assert {name: n for name, n in change.items() if n} == driver, case
        old, self.state_before = self.state_before, state_of(self.flow)
        for field, name in FLOW_STATE.items():
            grown = getattr(self.state_before, field) - getattr(old, field)
            assert grown == card.get(name, 0), (case, field)


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_sta_01_in_order(nic, flows, kind):
    s = Sender(nic, flows, kind)
    s.send(s.second, s.third)
    size = s.third - s.second
    s.counts(encrypted(size), encrypted(size), "a record")
    for at in range(3):
        s.send(s.third + 50 * at, s.third + 50 * at + 50)
    s.counts(encrypted(150, packets=3), encrypted(150, packets=3), "in pieces")
    s.send(s.third + 150, s.end, mss=100)
    size = s.end - s.third - 150
    s.counts(encrypted(size), encrypted(size), "in segments: one packet")
    s.flow.send(s.flow.sent_end, 0, payload=b"")
    s.counts({}, {}, "a pure ACK")
    first, _ = s.flow.write(300, 300)
    with s.flow.queue.batch():
        s.flow.send_rest(100)
    size = s.flow.end - first.start_sequence & MASK
    packets = -(-size // 100)
    s.counts(encrypted(size, packets), encrypted(size, packets), "a batch")
    s.flow.check()


@every_kind
def test_sta_01_retransmits(nic, flows, kind):
    """All count as out of order. By the card they count as encrypted once more."""
    s = Sender(nic, flows, kind)
    for name, begin, end, mss in (
        ("whole record", s.begin, s.second, 0),
        ("first part", s.begin, 100, 0),
        ("middle", 200, 300, 0),
        ("tag only", s.second - 10, s.second, 0),
        ("in segments", s.begin, s.second, 200),
    ):
        assert s.send(begin, end, mss=mss) is OutcomeKind.PRESYNC
        both = {**encrypted(end - begin), "ooo": 1}
        s.counts(both, {**both, "presync": 1}, name)
    assert s.send(300, s.second + 100) is OutcomeKind.PRESYNC
    both = {**encrypted(s.second - 200), "ooo": 1}
    s.counts(both, {**both, "presync": 1}, "old data, and new")
    s.flow.tag.fallback = "software"
    assert s.send(s.begin, s.second) is OutcomeKind.SOFTWARE
    s.counts({"ooo": 1}, {}, "in software")
    s.flow.tag.fallback = "presync"
    s.send(s.second + 100, s.second + 200)
    s.counts(encrypted(100), encrypted(100), "in order again")
    s.flow.check()


@every_kind
def test_sta_01_gap(nic, flows, kind):
    s = Sender(nic, flows, kind)
    assert s.send(s.second + 100, s.second + 300) is OutcomeKind.SOFTWARE
    s.counts({"ooo": 1}, {}, "a gap")
    assert s.send(s.second + 300, s.third) is OutcomeKind.SOFTWARE
    s.counts({"ooo": 1}, {}, "resync pending")
    both = {**encrypted(200), "ooo": 1}
    assert s.send(s.third, s.third + 200) is OutcomeKind.PRESYNC
    s.counts(both, {**both, "presync": 1}, "next record")
    both = {**encrypted(100), "ooo": 1}
    assert s.send(s.second, s.second + 100) is OutcomeKind.PRESYNC
    s.counts(both, {**both, "presync": 1}, "the gap is filled")
    s.send(s.third + 200, s.end)
    size = s.end - s.third - 200
    s.counts(encrypted(size), encrypted(size), "in order again")
    (entry,) = s.flow.write(300)
    s.flow.tag.resync(s.flow.end)
    size = len(entry.record.data)
    assert s.flow.send_rest()[0].kind is OutcomeKind.PRESYNC
    one = encrypted(size)
    case = "before the place that the stack named: the card still is there"
    s.counts({**one, "ooo": 1}, {**one, "presync": 1}, case)
    s.flow.write(300)
    assert s.flow.send_rest()[0].kind is OutcomeKind.PRESYNC
    case = "at the place that the stack named: the driver expects it, the card does not"
    s.counts(one, {**one, "ooo": 1, "presync": 1}, case)
    s.flow.check()


@every_kind
def test_sta_01_skipped_and_dropped_by_the_driver(nic, flows, kind):
    """What the card never sees. mlx5 counts these as out of order as well, as does this driver."""
    s = Sender(nic, flows, kind)
    s.send(-250, 0, payload=HANDSHAKE)
    s.counts({"ooo": 1, "skip_no_sync_data": 1}, {}, "handshake sent again")
    s.send(-250, 0, payload=HANDSHAKE, mss=100)
    s.counts({"ooo": 1, "skip_no_sync_data": 1}, {}, "the same in segments")
    payload = HANDSHAKE[-100:] + s.flow.records.read(START, 100)
    assert s.send(-100, 100, payload=payload) is OutcomeKind.DROPPED_BYPASS_REQ
    s.counts({"ooo": 1, "drop_bypass_req": 1}, {}, "on both sides of the start")
    s.flow.tag.ack(START + s.second & MASK)
    assert s.send(s.begin, 100) is OutcomeKind.DROPPED_NO_SYNC_DATA
    s.counts({"ooo": 1, "drop_no_sync_data": 1}, {}, "acknowledged, and gone")
    s.send(s.second, s.third)
    size = s.third - s.second
    s.counts(encrypted(size), encrypted(size), "in order")
    s.flow.check()


def test_sta_01_dropped_by_the_card(nic, flows, raw, watch):
    """Packets that no driver of good will posts: each ends as one drop, with one reason."""
    s = Sender(nic, flows, "CBC")
    flow, handle = s.flow, s.flow.tag.handle
    other = flows.open(openssl=False)
    s.tally.changes()
    here = START + s.second
    fine, again = in_order(flow, here, 200), presynced(flow, START + 100, 100)
    header = bytearray(fine.payload)
    header[0] = 99
    before_start = Packet(
        flow.headers(START - 250, 250),
        HANDSHAKE,
        TlsPresync(flags=PresyncFlags.BEFORE_START).pack(),
        handle=handle,
    )
    straddling = in_order(flow, START, 200)._replace(headers=flow.headers(START - 100, 200))
    late = {"dropped": 1, "ooo": 1, "drop_no_sync_data": 1}
    cases = {
        "a gap": (in_order(flow, here + 50, 50), Diagnostic.TLS_SEQUENCE, late),
        "no block": (in_order(flow, START, 50), Diagnostic.TLS_SEQUENCE, late),
        "bad block": (again._replace(presync=bytes(64)), Diagnostic.TLS_PRESYNC, late),
        "prefix missing": (again._replace(prefix=b""), Diagnostic.TLS_PRESYNC, late),
        "both sides of the start": (
            straddling,
            Diagnostic.TLS_SEQUENCE,
            {"dropped": 1, "ooo": 1, "drop_bypass_req": 1},
        ),
        "no record": (
            fine._replace(payload=bytes(header)),
            Diagnostic.TLS_RECORD,
            {"dropped": 1},
        ),
        "no handle": (
            fine._replace(handle=handle ^ 0x8000_0000),
            Diagnostic.TLS_HANDLE,
            {"dropped": 1, "drop_bad_handle": 1},
        ),
        "another's handle": (
            fine._replace(handle=other.tag.handle),
            Diagnostic.TLS_TUPLE,
            {"dropped": 1, "drop_bad_handle": 1},
        ),
        "unmapped payload": (
            fine._replace(payload=DmaRange(NOWHERE, 200)),
            Diagnostic.DMA_FAULT,
            {"dropped": 1},
        ),
        "no checksum": (
            fine._replace(flags=TxFlags.TLS),
            Diagnostic.OFFLOAD_DEPENDENCY,
            {"dropped": 1},
        ),
    }
    for name, (packet, code, card) in cases.items():
        watch.expect(code)
        completion = raw.post(packet)
        assert (completion.status, completion.detail) == (TxStatus.TLS_DROPPED, code), name
        s.counts({}, card, name)
    assert state_of(flow).not_offloaded == 6, "those for order, blocks, start and record"
    flows.collect()
    passes = {
        "in order": (fine, encrypted(200)),
        "again": (again, {**encrypted(100), "ooo": 1, "presync": 1}),
        "block where none is needed": (
            presynced(flow, here + 200, 100, moves=True),
            {**encrypted(100), "presync": 1},
        ),
        "pure ACK": (Packet(flow.headers(here, 0), b"", handle=handle), {}),
    }
    for name, (packet, card) in passes.items():
        assert raw.post(packet).status == TxStatus.OK, name
        s.counts({}, card, name)
    assert raw.post(before_start).status == TxStatus.OK
    (frame,) = flows.collect()
    assert payloads([frame]) == [(START - 250 & MASK, HANDSHAKE)]
    s.counts({}, {"ooo": 1, "skip_no_sync_data": 1}, "before the start")


def test_sta_01_lost_memory(nic, flows, watch):
    """The driver has handed the packets over, and counts them; the card has dropped them."""
    s = Sender(nic, flows, "GCM")
    flow, at = s.flow, START + s.second & MASK
    watch.expect(Diagnostic.DMA_FAULT)
    watch.expect(Diagnostic.TLS_SEQUENCE)
    with flow.queue.batch():
        flow.tag.transmit(flow.queue, flow.headers(at, 100), at, DmaRange(NOWHERE, 100))
        flow.send(at + 100, 300)
    s.counts(
        encrypted(400, packets=2),
        {"dropped": 2, "ooo": 1, "drop_no_sync_data": 1},
        "the first is lost, the second not in order",
    )


def test_sta_01_link_down(nic, flows, watch, peer):
    """The card does not look at TLS while the link is down; the driver did hand it a packet."""
    s = Sender(nic, flows, "GCM")
    peer.set_link(False)
    await_link(nic, False)
    watch.expect(Diagnostic.TX_LINK_DOWN)
    s.send(s.second, s.third)
    nic.drain_tx(5)
    assert s.tally.changes() == (encrypted(s.third - s.second), {})
    assert nic.counters()["TX_DROP_LINK_DOWN"] == 1
    peer.set_link(True)
    await_link(nic)


def test_sta_01_flows_come_and_go(nic, flows, watch):
    """Contexts count when they are made and when they are gone; commands count nothing else."""
    tally = Tally(nic)
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    assert tally.changes() == ({"ctx": 1}, {"ctx": 1})
    nic.snd_tag_alloc(flow.session, flows.address("IPv6"), 0).free()
    assert tally.changes() == ({"ctx": 1, "del": 1}, {"ctx": 1, "del": 1})
    with pytest.raises(SendTagRefused):
        nic.snd_tag_alloc(flow.session, flow.address, 0)
    assert tally.changes() == ({}, {}), "refused"
    flow.write(500)
    flow.tag.query()
    flow.tag.modify_rate(1 << 40)
    flow.key_update()
    assert tally.changes() == ({}, {}), "query, rate, new key"
    size = flow.end - START & MASK
    flow.send_rest()
    flow.check()
    assert tally.changes() == (encrypted(size), encrypted(size))
    (entry,) = flow.write(100)
    flow.send_rest()
    flow.check()
    size = len(entry.record.data)
    assert tally.changes() == (encrypted(size), encrypted(size)), "with the new key"
    flow.send(START, 100)
    flow.check()
    both = {**encrypted(100), "ooo": 1}
    assert tally.changes() == (both, {**both, "presync": 1}), "with the old key"

    nic.tx_tls = False
    unlucky = flows.open(openssl=False, software=True)
    with pytest.raises(SendTagRefused):
        unlucky.offload()
    unlucky.write(300)
    assert {outcome.kind for outcome in unlucky.send_rest()} == {OutcomeKind.SOFTWARE}
    unlucky.check()
    assert tally.changes() == ({}, {}), "feature off, software"
    flow.write(100)
    flow.send_rest()
    flow.check()
    assert tally.changes() == (encrypted(size), encrypted(size)), "feature off, flow that is there"
    nic.tx_tls = True

    tag = flow.tag
    flow.free()
    assert tally.changes() == ({"del": 1}, {"del": 1})
    tag.free()
    with pytest.raises(SendTagDeadError):
        tag.query()
    assert tally.changes() == ({}, {}), "freed twice"
    assert (tag.counters.tx_tls_ctx, tag.counters.tx_tls_del) == (1, 1)


@pytest.mark.parametrize("kind", ["soft", "function"])
def test_sta_01_reset(nic, flows, watch, kind):
    """The card's are zero again; the driver's go on, and count its lost flows as gone."""
    s = Sender(nic, flows, "GCM")
    flows.open(openssl=False)
    s.tally.changes()
    watch.checkpoint()
    nic.reset(function=kind == "function")
    await_link(nic)
    watch.start_again()
    driver, card = s.tally.now()
    assert not any(card.values())
    assert driver == {**s.tally.before[0], "tx_tls_del": 2}
    for flow in flows.flows:
        flow.to_software()
    s.tally.changes()
    flow = flows.open(openssl=False)
    flow.write(100)
    flow.send_rest()
    flow.check()
    size = flow.end - START & MASK
    assert s.tally.changes() == ({"ctx": 1, **encrypted(size)},) * 2

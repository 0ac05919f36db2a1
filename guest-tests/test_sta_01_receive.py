"""STA-01 (receive): what each counter means, as the exact change in each case, and no other change.

Names and meaning are those of Linux's Documentation/networking/tls-offload.rst. The card counts what
it does and what it hears; the driver counts packets with the card's marks, questions that reach it,
and what becomes of its answers. Each flow's own state sums up to the card's counters.
"""

import pytest
from harness.fixtures import await_link
from harness.tls_resync import AT_ONCE_US, NEVER_US, answer, hint, set_timeout, take_question
from harness.tls_rx_flow import AS_ON_WIRE, AUTH_FAILED, DECRYPTED, NONE

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, Offload
from tlsnic.driver.errors import SendTagRefused
from tlsnic.driver.tls.receive_tag import Resync

pytestmark = pytest.mark.row("STA-01")
KERNEL_NAMES = {
    "rx_tls_decrypted_packets",
    "rx_tls_decrypted_bytes",
    "rx_tls_ctx",
    "rx_tls_del",
    "rx_tls_resync_req_pkt",
    "rx_tls_resync_req_start",
    "rx_tls_resync_req_end",
    "rx_tls_resync_req_skip",
    "rx_tls_resync_res_ok",
    "rx_tls_resync_res_skip",
    "rx_tls_err",
}
SUITES = [CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_CHACHA20_POLY1305]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
FLOW_STATE = {
    "packets": "decrypted_packets",
    "payload_bytes": "decrypted_bytes",
    "auth_failures": "err",
    "questions": "req_start",
    "tag_resyncs": "tag",
}
"""Fields of a flow's own state, and the card's counters that sum them up."""
ASKED = {"req_start": 1, "req_pkt": 1}


def decrypted(size, packets=1):
    return {"decrypted_packets": packets, "decrypted_bytes": size}


class Tally:
    """The receive TLS counters of driver and card, by the ends of their names, and their changes."""

    def __init__(self, nic):
        self.nic = nic
        self.before = self.now()

    def now(self):
        found = self.nic.statistics()
        card = {name.lower(): n for name, n in found.items() if name.startswith("RX_TLS_")}
        return self.nic.tls_receive_counters.as_dict(), card

    def changes(self):
        """Of driver and card, since this was called last; only what has changed."""
        before, self.before = self.before, self.now()
        return tuple(
            {
                name.removeprefix("rx_tls_").removeprefix("resync_"): n - old[name]
                for name, n in new.items()
                if n != old[name]
            }
            for old, new in zip(before, self.before, strict=True)
        )


class Receiver:
    """A flow of records of which the first has come, and what more of it counts."""

    def __init__(self, nic, rx_flows, suite, **options):
        self.nic = nic
        self.flow = rx_flows.open(suite, openssl=False, reader=False, **options)
        self.flow.write(900, 1200, 700, 800, 600)
        self.starts = [record.start for record in self.flow.records]
        self.take(0, self.starts[1], DECRYPTED)
        self.tally = Tally(nic)
        self.state_before = self.flow.query()._asdict()

    def take(self, begin, end, *states, **frame):
        """The packet with bytes `begin` to `end`, and how it comes."""
        self.flow.sent_end = max(self.flow.sent_end, end)
        self.flow.flows.send(self.flow.frame(begin, end, **frame))
        assert self.flow.states() == list(states)

    def counts(self, driver, card, case, **state):
        """The changes are these and no others, in total and of this flow; on driver and card."""
        self.nic.poll_events()
        found = self.tally.changes()
        assert found == (driver, card), case
        before, self.state_before = self.state_before, self.flow.query()._asdict()
        wanted = {field: card.get(name, 0) for field, name in FLOW_STATE.items()}
        wanted |= {"out_of_order": 0, "not_offloaded": 0, "host_resyncs": 0} | state
        changes = {field: self.state_before[field] - before[field] for field in wanted}
        assert changes == wanted, case


def test_sta_01_receive_names(nic):
    """The driver has all of the kernel's, and so has the card, in capitals; and one more."""
    names = set(nic.tls_receive_counters.as_dict())
    assert names == KERNEL_NAMES
    registers, command = nic.counters(), nic.statistics()
    ours = {name for name in registers if name.startswith("RX_TLS_")}
    assert ours == {name.upper() for name in names} | {"RX_TLS_RESYNC_TAG"}
    assert ours == {name for name in command if name.startswith("RX_TLS_")}
    assert not any(nic.tls_receive_counters.as_dict().values())


@every_suite
def test_sta_01_received_in_order(nic, rx_flows, suite):
    s = Receiver(nic, rx_flows, suite)
    second, third, fourth, fifth = s.starts[1:]
    for begin, end in ((second, second + 3), (second + 3, third), (third, fourth + 100)):
        s.take(begin, end, DECRYPTED)
        s.counts(decrypted(end - begin), decrypted(end - begin), "in order")
    s.take(fourth + 100, fourth + 100, AS_ON_WIRE)
    s.counts({}, {}, "pure ACK")
    s.take(0, 500, AS_ON_WIRE)
    s.counts({}, {}, "old data", out_of_order=1, not_offloaded=1)
    s.take(third, fourth + 200, AS_ON_WIRE)
    s.counts({}, {}, "old data and new", out_of_order=1, not_offloaded=1)
    size = fifth + 50 - fourth - 200
    s.take(fourth + 200, fifth + 50, DECRYPTED)
    s.counts(decrypted(size), decrypted(size), "in order again")
    s.take(fifth + 100, fifth + 200, AS_ON_WIRE)
    s.counts({}, {}, "a gap without a header", out_of_order=1, not_offloaded=1)
    s.take(fifth + 200, s.flow.end, AS_ON_WIRE)
    s.counts({}, {}, "and what is behind it", not_offloaded=1)


@every_suite
def test_sta_01_joined_packets(nic, rx_flows, suite):
    """The card counts what it decrypts from the wire, the driver what it is handed."""
    nic.offloads |= Offload.RX_COALESCE
    nic.set_rx_coalesce(2000)
    flow = rx_flows.open(suite, openssl=False, reader=False)
    tally = Tally(nic)
    flow.write(3000)
    flow.send_cut(0, 600, 1200, 1800)
    arrived = flow.collect()
    assert sum(one.segments for one in arrived) == 3
    found = tally.changes()
    assert found == (decrypted(1800, len(arrived)), decrypted(1800, 3))


def test_sta_01_questions(nic, rx_flows):
    """Asked, answered; no record; too late; dropped for a newer one; timed out."""
    set_timeout(nic, NEVER_US)
    s = Receiver(nic, rx_flows, SUITES[0])
    flow, (_, _, third, fourth, fifth) = s.flow, s.starts
    s.take(third - 10, third + 50, AS_ON_WIRE)
    s.counts(ASKED, ASKED, "asked", out_of_order=1, not_offloaded=1)
    question = take_question(flow, third)
    assert answer(flow, question, 1, question=99) == CommandStatus.STALE
    s.counts({}, {"res_skip": 1}, "an answer to no question")
    assert answer(flow, question, None) == CommandStatus.OK
    s.counts({}, {"req_end": 1, "res_skip": 1}, "no record there")
    s.take(fourth - 10, fourth + 50, AS_ON_WIRE)
    s.counts(ASKED | {"req_skip": 1}, ASKED, "asked again", out_of_order=1, not_offloaded=1)
    question = take_question(flow, fourth)
    s.take(fifth + 10, fifth + 50, AS_ON_WIRE)
    s.counts({}, {"req_skip": 1}, "the header behind it lost", out_of_order=1, not_offloaded=1)
    assert answer(flow, question, 3) == CommandStatus.STALE
    s.counts({}, {"res_skip": 1}, "an answer that is too late")
    sixth = flow.end
    flow.write(300)
    s.take(sixth - 10, sixth + 50, AS_ON_WIRE)
    driver = ASKED | {"req_skip": 1}
    s.counts(driver, ASKED, "a third question", out_of_order=1, not_offloaded=1)
    assert answer(flow, take_question(flow, sixth), 5) == CommandStatus.OK
    s.counts({}, {"req_end": 1, "res_ok": 1}, "confirmed", host_resyncs=1)
    s.take(sixth + 50, flow.end, AS_ON_WIRE)
    s.counts({}, {}, "the rest of that record", not_offloaded=1)
    begin = flow.end
    flow.write(300)
    s.take(begin, flow.end, DECRYPTED)
    size = flow.end - begin
    s.counts(decrypted(size), decrypted(size), "decrypted again")


def test_sta_01_questions_of_the_driver(nic, rx_flows):
    """The driver's half: reached and answered, by a tag that is told of records."""
    s = Receiver(nic, rx_flows, SUITES[0])
    flow, tag = s.flow, s.flow.tag
    third, fourth = s.starts[2:4]
    s.take(third - 10, fourth, AS_ON_WIRE)
    s.counts(ASKED, ASKED, "asked", out_of_order=1, not_offloaded=1)
    tag.modify(flow.at(third), fourth - third, 2)
    flow.settled()
    both = {"req_end": 1, "res_ok": 1}
    s.counts(both, both, "answered", host_resyncs=1)
    s.take(fourth, flow.end, DECRYPTED)
    size = flow.end - fourth
    s.counts(decrypted(size), decrypted(size), "decrypted again")
    flow.write(500, 500, 500)
    first, second, last = (record.start for record in flow.records[-3:])
    s.take(first, first + 20, DECRYPTED)
    s.counts(decrypted(20), decrypted(20), "in order")
    s.take(last - 10, last + 40, AS_ON_WIRE)
    s.counts(ASKED, ASKED, "asked", out_of_order=1, not_offloaded=1)
    tag.modify(flow.at(first), second - first, 5)
    tag.modify(flow.at(second), last - second + 20, 6)
    flow.settled()
    driver, card = {"req_end": 1, "res_skip": 1}, {"req_end": 1, "res_skip": 1}
    s.counts(driver, card, "there is no record, as far as the stack knows")


def test_sta_01_time_out(nic, rx_flows):
    set_timeout(nic, AT_ONCE_US)
    s = Receiver(nic, rx_flows, SUITES[1])
    third, fourth = s.starts[2:4]
    s.take(third - 10, third + 50, AS_ON_WIRE)
    s.counts(ASKED, ASKED, "asked", out_of_order=1, not_offloaded=1)
    s.take(third + 50, third + 60, AS_ON_WIRE)
    s.counts({}, {"req_skip": 1}, "the time is over", not_offloaded=1)
    set_timeout(nic, NEVER_US)
    s.take(third + 60, fourth + 10, AS_ON_WIRE)
    s.counts(ASKED | {"req_skip": 1}, ASKED, "about the next header", not_offloaded=1)


@pytest.mark.parametrize("how", [Resync.TAG, Resync.BOTH], ids=lambda how: how.name)
def test_sta_01_settled_by_tag(nic, rx_flows, how):
    s = Receiver(nic, rx_flows, SUITES[0], resync=how)
    flow, (_, _, third, fourth, fifth) = s.flow, s.starts
    s.take(third - 10, third + 50, AS_ON_WIRE)
    s.counts({}, {}, "a header is lost", out_of_order=1, not_offloaded=1)
    s.take(third + 50, fourth, AS_ON_WIRE)
    s.counts({}, {"tag": 1}, "a whole record", not_offloaded=1)
    s.take(fourth, fifth, DECRYPTED)
    size = fifth - fourth
    s.counts(decrypted(size), decrypted(size), "decrypted again")
    flow.write(600, 600)
    first, second = (record.start for record in flow.records[-2:])
    s.take(first - 10, first + 10, AS_ON_WIRE)
    s.counts({}, {}, "a header is lost again", out_of_order=1, not_offloaded=1)
    asks = how is Resync.BOTH
    s.take(first + 20, second, AS_ON_WIRE)
    both = ASKED if asks else {}
    s.counts(both, both, "a record that was not whole", out_of_order=1, not_offloaded=1)


def test_sta_01_hints(nic, rx_flows):
    s = Receiver(nic, rx_flows, SUITES[1], resync=Resync.NONE)
    flow, (_, second, third, fourth, fifth) = s.flow, s.starts
    assert hint(flow, third, 2) == CommandStatus.OK
    s.counts({"res_ok": 1}, {"res_skip": 1}, "in OFFLOAD: taken, and of no use")
    s.take(third - 10, third + 50, AS_ON_WIRE)
    s.counts({}, {}, "lost, and nobody is asked", out_of_order=1, not_offloaded=1)
    assert hint(flow, second, 1) == CommandStatus.STALE
    s.counts({"res_skip": 1}, {"res_skip": 1}, "a place that was passed")
    assert hint(flow, fourth, 3) == CommandStatus.OK
    s.counts({"res_ok": 1}, {"res_ok": 1}, "a place to come", host_resyncs=1)
    s.take(third + 50, fourth, AS_ON_WIRE)
    s.counts({}, {}, "not there yet", not_offloaded=1)
    s.take(fourth, fifth, DECRYPTED)
    s.counts(decrypted(fifth - fourth), decrypted(fifth - fourth), "there")


@every_suite
def test_sta_01_forged(nic, watch, rx_flows, suite):
    watch.expect(Diagnostic.TLS_AUTH)
    s = Receiver(nic, rx_flows, suite)
    flow, (_, second, third, fourth, _) = s.flow, s.starts
    damaged = bytearray(flow.payload(second, third))
    damaged[-1] ^= 1
    s.take(second, third, AUTH_FAILED, payload=bytes(damaged))
    s.counts({"err": 1}, {"err": 1}, "forged", not_offloaded=1)
    s.take(third, fourth, AS_ON_WIRE)
    s.counts({}, {}, "halted", not_offloaded=1)


def test_sta_01_not_looked_at(nic, rx_flows):
    s = Receiver(nic, rx_flows, SUITES[0])
    second, third = s.starts[1:3]
    s.take(second, third, AS_ON_WIRE, bad="tcp")
    s.counts({}, {}, "wrong checksum", not_offloaded=1)
    s.take(second, third, AS_ON_WIRE, bad="ip")
    s.counts({}, {}, "wrong IP checksum", not_offloaded=1)
    s.take(second, third, AS_ON_WIRE, ip_options=b"\1\1\1\1")
    s.counts({}, {}, "IP options", not_offloaded=1)
    before = nic.offloads
    nic.offloads = Offload(0)
    s.take(second, third, AS_ON_WIRE)
    s.counts({}, {}, "checksums switched off", not_offloaded=1)
    nic.offloads = before
    s.take(second, third, DECRYPTED)
    s.counts(decrypted(third - second), decrypted(third - second), "in order")


def test_sta_01_receive_flows_come_and_go(nic, rx_flows):
    tally = Tally(nic)
    flow = rx_flows.open(SUITES[1], openssl=False, reader=False)
    assert tally.changes() == ({"ctx": 1}, {"ctx": 1})
    with pytest.raises(SendTagRefused):
        nic.rcv_tag_alloc(flow.session, flow.address, 0)
    assert tally.changes() == ({}, {}), "refused"
    flow.write(500)
    flow.key_update()
    flow.query()
    assert tally.changes() == ({}, {}), "query"
    flow.send(0, flow.end)
    assert flow.states() == [DECRYPTED]
    assert tally.changes() == (decrypted(flow.end), decrypted(flow.end))
    tag, end = flow.tag, flow.end
    flow.write(100)
    flow.free()
    assert tally.changes() == ({"del": 1}, {"del": 1})
    tag.free()
    flow.send(end, flow.end)
    assert flow.states() == [NONE]
    assert tally.changes() == ({}, {}), "freed twice, and packets of no flow"


@pytest.mark.parametrize("kind", ["soft", "function"])
def test_sta_01_receive_reset(nic, watch, rx_flows, kind):
    """The card's are zero again; the driver's go on, and count its lost flows and questions."""
    s = Receiver(nic, rx_flows, SUITES[0])
    third = s.starts[2]
    s.take(third - 10, third + 50, AS_ON_WIRE)
    s.flow.asked(1)
    s.tally.changes()
    watch.checkpoint()
    nic.reset(function=kind == "function")
    await_link(nic)
    watch.start_again()
    driver, card = s.tally.now()
    assert not any(card.values())
    assert driver == {
        **s.tally.before[0],
        "rx_tls_del": 1,
        "rx_tls_resync_req_skip": 1,
    }

"""RSY-04: what the card asks about is the n-th of several records in one packet."""

import pytest
from harness.tls_resync import (
    AT_ONCE_US,
    NEVER_US,
    answer,
    header,
    set_timeout,
    take_question,
    write_holding,
)
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED

from tlsnic.abi.enums import CipherSuite, CommandStatus, Offload
from tlsnic.driver.tls.receive_stream import Offloaded

OK = CommandStatus.OK
GCM12, CHACHA13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_CHACHA20_POLY1305
SMALL = (90, 150, 60, 200, 120, 75, 180, 100)
"""Together in one packet."""
two_suites = pytest.mark.parametrize("suite", [GCM12, CHACHA13], ids=lambda s: s.name)


@pytest.mark.row("RSY-04")
@two_suites
def test_rsy_04_guess_is_the_nth_of_a_packet(nic, rx_flows, suite):
    """A look-alike leads over the first records of the next packet to the n-th. The question about
    the look-alike is not answered in time, and the next one is about that record."""
    for n in range(len(SMALL)):
        flow = rx_flows.open(suite, openssl=False, reader=False)
        flow.write(300)
        layout = flow.session.layout
        size = layout.prefix_bytes + 1000 + layout.is_tls13 + layout.tag_bytes
        small = [layout.prefix_bytes + s + layout.is_tls13 + layout.tag_bytes for s in SMALL]
        fake = 700
        length = size - fake + sum(small[:n])
        record = write_holding(flow, 1000, {fake: header(flow, length)})
        assert record.end - record.start == size
        first = len(flow.records)
        flow.write(*SMALL, 400, 500)
        flow.send(0, record.start)
        flow.send(record.start + 200, record.start + size - 30)
        assert flow.states() == [DECRYPTED, AS_ON_WIRE]
        take_question(flow, record.start + fake)
        set_timeout(nic, AT_ONCE_US)
        flow.send(record.start + size - 30, flow.records[first + 8].start)
        assert flow.states() == [AS_ON_WIRE]
        set_timeout(nic, NEVER_US)
        guess = flow.records[first + n]
        asked = take_question(flow, guess.start)
        assert answer(flow, asked, guess.number) == OK
        flow.send_rest()
        assert flow.states() == [DECRYPTED]
        assert flow.query().record_number == flow.records[-1].number + 1


@pytest.mark.row("RSY-04")
@two_suites
def test_rsy_04_packet_comes_again_as_a_whole(rx_flows, suite):
    """TCP sends in other packets what it sends again: the lost part of a packet of eight records
    and all that followed in it are one packet then. The driver finds the one that was asked
    about among its records."""
    for n in range(1, len(SMALL)):
        flow = rx_flows.open(suite, openssl=False)
        flow.write(*SMALL, 400, 500, 600)
        records = flow.records
        cut = records[n].start - 20
        flow.send(cut, records[8].start)
        assert flow.states() == [AS_ON_WIRE]
        assert flow.tag.question.tcp_sequence == flow.at(records[n].start)
        flow.read()
        flow.send(0, records[8].start)
        assert flow.states() == [AS_ON_WIRE]
        flow.read()
        flow.settled()
        assert flow.tag.counters.rx_tls_resync_res_ok == 1
        flow.send_rest()
        assert set(flow.states()) == {DECRYPTED}
        assert flow.check() == {Offloaded.NOT: 8, Offloaded.FULLY: 3}
        assert flow.query().host_resyncs == 1


@pytest.mark.row("RSY-04")
def test_rsy_04_records_of_equal_length(rx_flows):
    """Twenty in the packet that is asked about, of which the first part of one is lost."""
    for n in (1, 10, 19):
        flow = rx_flows.open(CHACHA13, openssl=False)
        flow.write(*[40] * 22)
        records = flow.records
        flow.send(records[n].start - 3, records[20].start)
        flow.collect()
        assert flow.tag.question.tcp_sequence == flow.at(records[n].start)
        flow.send(0, records[20].start)
        flow.collect()
        flow.read()
        flow.settled()
        flow.send_rest()
        assert flow.states() == [DECRYPTED]
        assert flow.check()[Offloaded.FULLY] == 2


@pytest.mark.row("RSY-04")
def test_rsy_04_joined_packets(nic, rx_flows):
    """The card joins segments that are as on the wire to one packet; the one with the question
    does not go with those that have none."""
    nic.offloads = nic.offloads | Offload.RX_COALESCE
    nic.set_rx_coalesce(20_000)
    flow = rx_flows.open(GCM12, openssl=False)
    flow.write(*[150] * 60)
    records = flow.records
    flow.send(0, records[20].start + 7)
    flow.send(records[22].start - 15, records[50].start)
    arrived = flow.collect()
    assert any(one.segments > 1 and one.state is AS_ON_WIRE for one in arrived)
    assert flow.questions(arrived) == 1
    assert flow.tag.question.tcp_sequence == flow.at(records[22].start)
    flow.send(records[20].start + 7, records[22].start - 15)
    flow.collect()
    flow.read()
    flow.settled()
    flow.send_rest()
    flow.check()
    assert flow.arrived[-1].state is DECRYPTED
    assert flow.query().questions == 1

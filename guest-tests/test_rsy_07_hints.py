"""RSY-07: the stack tells the card unasked where the next record starts, as Linux's
tls_device_core_ctrl_rx_resync() does: after records 3, 5, 9, 17, 33, 65, 129 in a row that came as
on the wire, then after every 128."""

import pytest
from harness.tls_resync import counts, take_questions
from harness.tls_rx_flow import AS_ON_WIRE, DECRYPTED, KINDS

from tlsnic.abi.enums import CipherSuite, TlsTrackerState
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

GCM13 = CipherSuite.TLS13_AES_128_GCM
SCHEDULE = [3, 5, 9, 17, 33, 65, 129, 257, 385, 513]


def lose_record(flow, number):
    """This record is lost and comes again behind the next one; both come as on the wire."""
    lost, following = flow.records[number : number + 2]
    flow.send(flow.sent_end, lost.start)
    flow.send(following.start, following.end)
    flow.send(lost.start, lost.end)
    assert flow.states()[-2:] == [AS_ON_WIRE] * 2
    flow.read()


def pass_record(flow, number):
    """One packet with this record, read at once; how it came."""
    record = flow.records[number]
    flow.send(record.start, record.end)
    (state,) = flow.states()
    flow.read()
    return state


@pytest.mark.row("RSY-07")
def test_rsy_07_schedule(rx_flows, scale, monkeypatch):
    """No hint gets to the card here. Each names the record behind the last one that was read."""
    flow = rx_flows.open(GCM13, openssl=False, resync=Resync.NONE)
    told = []
    monkeypatch.setattr(flow.tag, "hint", lambda *place: told.append((*place, len(seen))))
    missed = scale(520, 132)
    flow.write(*[30] * (missed + 1))
    lose_record(flow, 1)
    seen = [1, 2]
    assert not told
    for number in range(3, missed + 1):
        seen.append(number)
        assert pass_record(flow, number) is AS_ON_WIRE
    expected = [after for after in SCHEDULE if after <= missed]
    assert len(expected) >= 7
    assert [after for *_, after in told] == expected
    for sequence, number, after in told:
        last_read = flow.records[after]
        assert (sequence, number) == (flow.at(last_read.end), last_read.number + 1)


@pytest.mark.row("RSY-07")
def test_rsy_07_first_hint_is_enough(nic, rx_flows):
    """It is for a record that is still to come: that one is decrypted. The card asks nothing."""
    for suite in KINDS:
        flow = rx_flows.open(suite, openssl=False, resync=Resync.NONE)
        flow.write(*[300] * 12)
        lose_record(flow, 2)
        assert pass_record(flow, 4) is AS_ON_WIRE
        flow.settled()
        assert flow.tag.counters.rx_tls_resync_res_ok == 1
        states = [pass_record(flow, number) for number in range(5, 12)]
        assert states == [DECRYPTED] * 7
        assert flow.check() == {Offloaded.FULLY: 9, Offloaded.NOT: 3}
        assert not take_questions(flow)
        state = flow.query()
        assert (state.questions, state.host_resyncs, state.tag_resyncs) == (0, 1, 0)
    assert counts(nic) == {"res_ok": len(KINDS)}


@pytest.mark.row("RSY-07")
def test_rsy_07_loss_after_loss(rx_flows):
    """The count begins anew with each record that the card has decrypted."""
    flow = rx_flows.open(GCM13, openssl=False, resync=Resync.NONE)
    flow.write(*[200] * 40)
    for first in range(0, 32, 8):
        lose_record(flow, first + 1)
        assert pass_record(flow, first + 3) is AS_ON_WIRE
        flow.settled()
        states = [pass_record(flow, first + number) for number in range(4, 8)]
        assert states == [DECRYPTED] * 4
    counters = flow.tag.counters
    assert (counters.rx_tls_resync_res_ok, counters.rx_tls_resync_res_skip) == (4, 0)
    assert flow.query().host_resyncs == 4


@pytest.mark.row("RSY-07")
def test_rsy_07_records_that_are_there_already(rx_flows):
    """Many records wait when the stack reads: it hints when it has got to the last of them, for
    one that the card has not seen. Hints in between would come too late."""
    flow = rx_flows.open(GCM13, openssl=False, resync=Resync.NONE)
    flow.write(*[100] * 320)
    lose_record(flow, 1)
    records = flow.records
    flow.send(records[3].start, records[310].start + 30)
    assert set(flow.states()) == {AS_ON_WIRE}
    assert flow.tracker == TlsTrackerState.TRACK
    flow.read()
    flow.settled()
    counters = flow.tag.counters
    assert (counters.rx_tls_resync_res_ok, counters.rx_tls_resync_res_skip) == (1, 0)
    assert flow.tracker == TlsTrackerState.OFFLOAD
    flow.send(records[310].start + 30, records[311].start)
    flow.send_rest()
    assert set(flow.states()[1:]) == {DECRYPTED}
    flow.check()
    assert flow.query().questions == 0

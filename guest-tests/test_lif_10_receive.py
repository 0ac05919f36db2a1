"""LIF-10 for receive: the card is gone, with receive flows open: every wait ends long before its
deadline, flows are dead and say why, and the connection has the card again once it is back.
"""

import time

import pytest
from harness.fixtures import await_link
from harness.removal import remove
from harness.tls_rx_flow import DECRYPTED
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.errors import DeviceGoneError, SendTagDeadError

pytestmark = [pytest.mark.row("LIF-10"), pytest.mark.deadline(60)]

DEADLINE_S = 60.0
LIMIT_S = 20.0
GCM13 = CipherSuite.TLS13_AES_128_GCM


def rekey(nic, flow):
    flow.tag.modify_rekey(make_session(GCM13, seed=1), flow.at(flow.end))


def next_event(nic, flow):
    nic.events.events.clear()
    nic.events.next_event(DEADLINE_S)


def answer(nic, flow):
    """The stream reaches the question; the answer is posted, and never taken."""
    flow.tag.modify(flow.at(flow.records[-1].start), 1000, flow.records[-1].number)
    nic.admin.nop(DEADLINE_S)


WAITS = {
    "alloc": lambda nic, flow: nic.rcv_tag_alloc(
        make_session(GCM13, seed=10), flow.address._replace(local_port=9), 1
    ),
    "query": lambda nic, flow: flow.tag.query(DEADLINE_S),
    "rekey": rekey,
    "receive": lambda nic, flow: nic.receive(DEADLINE_S),
    "event": next_event,
    "answer": answer,
}


@pytest.mark.nic(command_timeout_s=DEADLINE_S)
@pytest.mark.parametrize("wait", WAITS)
def test_lif_10_receive_reads_all_ones(nic, watch, rx_flows, monkeypatch, wait):
    """With a question open."""
    flow, other = (rx_flows.open(GCM13, openssl=False, reader=False) for _ in range(2))
    flow.write(1000, 1000, 1000)
    third = flow.records[-1].start
    flow.send(0, 200)
    flow.send(third - 10, third + 100)
    flow.collect()
    flow.asked(1)
    watch.checkpoint()
    tags = flow.tag, other.tag
    start_s = time.monotonic()
    with monkeypatch.context() as patch:
        remove(nic, patch)
        with pytest.raises(DeviceGoneError, match="device gone"):
            WAITS[wait](nic, flow)
        for tag in tags:
            assert not tag.is_alive
            for use in (
                tag.query,
                lambda tag=tag: tag.modify(flow.at(third), 1000, 2),
                lambda tag=tag: tag.hint(flow.at(third), 2),
                lambda tag=tag: tag.modify_rekey(make_session(GCM13), flow.at(flow.end)),
            ):
                with pytest.raises(SendTagDeadError, match="device gone"):
                    use()
            tag.free()
        assert nic.receive_tags == {}
        counters = nic.tls_receive_counters
        assert (counters.rx_tls_ctx, counters.rx_tls_del) == (2, 2)
        with pytest.raises(DeviceGoneError):
            nic.check()
    assert time.monotonic() - start_s < LIMIT_S
    nic.reset()
    await_link(nic)
    watch.start_again()
    again = rx_flows.open(GCM13, openssl=False, address=flow.address, sequence=flow.at(flow.end))
    again.write(700)
    again.send_rest()
    assert again.states() == [DECRYPTED]
    again.check()

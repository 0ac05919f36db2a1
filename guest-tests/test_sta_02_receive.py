"""STA-02 for receive: ctx minus del is the number of live contexts, in the driver and in the card;
those of the two directions are counted apart.
"""

import random

import pytest
from harness.fixtures import await_link
from harness.tls_rx_flow import DECRYPTED, KINDS
from harness.tls_start import make_session

from tlsnic.abi.enums import CommandStatus, Diagnostic
from tlsnic.abi.structures import TlsFlowQueryCommand, TlsFlowState
from tlsnic.driver.errors import CommandError, SendTagRefused

pytestmark = pytest.mark.row("STA-02")
PORT = 7000


class Contexts:
    """The tags of one test, the dead ones as well; transmit tags come and go beside them."""

    def __init__(self, nic, rx_flows, watch):
        self.nic, self.watch = nic, watch
        self.address = rx_flows.open(openssl=False, resync=None).address
        self.live, self.dead = [], []
        self.made = 0
        self.sending = {}

    def make(self):
        number = self.made
        self.made += 1
        session = make_session(KINDS[number % 4], seed=number, record_number=number)
        address = self.address._replace(local_port=PORT + number, vlan_id=number % 3 or None)
        self.live.append(self.nic.rcv_tag_alloc(session, address, 1000 * number))
        if number % 2:
            self.sending[address] = self.nic.snd_tag_alloc(session, address, number)

    def free(self, at):
        tag = self.live.pop(at)
        tag.free()
        self.dead.append(tag)

    def free_sending(self):
        if self.sending:
            self.sending.popitem()[1].free()

    def check(self):
        """Driver and card agree on how many there are, and which: those answer, the others not."""
        nic = self.nic
        driver, card = nic.tls_receive_counters, nic.statistics()
        assert driver.rx_tls_ctx - driver.rx_tls_del == len(self.live)
        assert card["RX_TLS_CTX"] - card["RX_TLS_DEL"] == len(self.live)
        assert card["TX_TLS_CTX"] - card["TX_TLS_DEL"] == len(self.sending)
        assert set(nic.receive_tags) == {tag.handle for tag in self.live}
        for tag in self.live[-2:]:
            assert tag.query().record_number == tag.session.record_number
        for tag in self.dead[-2:]:
            self.watch.expect(Diagnostic.TLS_HANDLE)
            with pytest.raises(CommandError) as caught:
                nic.admin.execute_block(
                    TlsFlowQueryCommand(handle=tag.handle), length=TlsFlowState.SIZE
                )
            assert caught.value.status == CommandStatus.BAD_HANDLE
        self.watch.collect()


def test_sta_02_receive_flows_made_and_freed(nic, watch, rx_flows, scale):
    """In any order, with refusals between."""
    rng = random.Random(2)
    contexts = Contexts(nic, rx_flows, watch)
    contexts.check()
    for _ in range(scale(120, 20)):
        event = rng.random()
        if event < 0.5 or not contexts.live:
            contexts.make()
        elif event < 0.75:
            contexts.free(rng.randrange(len(contexts.live)))
        elif event < 0.85:
            contexts.free_sending()
        else:
            tag = rng.choice(contexts.live)
            with pytest.raises(SendTagRefused) as caught:
                nic.rcv_tag_alloc(tag.session, tag.address, 7)
            assert caught.value.status == CommandStatus.DUPLICATE
        contexts.check()
    while contexts.live:
        contexts.free(0)
    while contexts.sending:
        contexts.free_sending()
    contexts.check()
    counters = nic.tls_receive_counters
    assert counters.rx_tls_ctx == counters.rx_tls_del == contexts.made


@pytest.mark.parametrize("kind", ["soft", "function"])
def test_sta_02_receive_flows_and_resets(nic, watch, rx_flows, kind):
    """None is left; those that come later are counted from there."""
    contexts = Contexts(nic, rx_flows, watch)
    for _ in range(2):
        for _ in range(3):
            contexts.make()
        contexts.free(1)
        contexts.check()
        watch.checkpoint()
        nic.reset(function=kind == "function")
        await_link(nic)
        watch.start_again()
        contexts.dead += contexts.live
        contexts.live.clear()
        contexts.sending.clear()
        contexts.check()
        assert nic.statistics()["RX_TLS_CTX"] == 0


def test_sta_02_receive_traffic_and_new_keys_change_nothing(nic, rx_flows):
    several = [rx_flows.open(suite, openssl=False) for suite in KINDS]
    for flow in several:
        flow.write(400, 300)
        flow.send_rest(mss=250)
        assert set(flow.states()) == {DECRYPTED}
    session = several[2].key_update()
    several[2].send_rest()
    several[2].check()
    several[2].receiver.rekey(session)
    counters = nic.tls_receive_counters
    assert (counters.rx_tls_ctx, counters.rx_tls_del) == (4, 0)
    several[1].free()
    assert nic.tls_receive_counters.rx_tls_del == nic.counters()["RX_TLS_DEL"] == 1

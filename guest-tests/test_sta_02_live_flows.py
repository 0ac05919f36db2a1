"""STA-02: ctx minus del is the number of live contexts, in the driver and in the card."""

import random

import pytest
from harness.fixtures import await_link
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic
from tlsnic.abi.structures import TlsFlowDestroyCommand, TlsFlowQueryCommand, TlsFlowState
from tlsnic.driver.errors import CommandError, SendTagRefused

pytestmark = pytest.mark.row("STA-02")
SUITES = [CipherSuite.TLS13_AES_128_GCM, CipherSuite.TLS10_AES_CBC_SHA1]


class Contexts:
    """The tags of one test, the dead ones as well."""

    def __init__(self, nic, flows, watch):
        self.nic, self.flows, self.watch = nic, flows, watch
        self.live, self.dead = [], []
        self.made = 0

    def make(self):
        number = self.made
        self.made += 1
        session = make_session(SUITES[number % 2], seed=number)
        address = self.flows.address("IP" if number % 3 else "IPv6", vlan=number)
        self.live.append(self.nic.snd_tag_alloc(session, address, 1000 * number))

    def free(self, at):
        tag = self.live.pop(at)
        tag.free()
        self.dead.append(tag)

    def check(self):
        """Driver and card agree on how many there are, and which: those answer, the others not."""
        driver, card = self.nic.tls_counters, self.nic.statistics()
        assert driver.tx_tls_ctx - driver.tx_tls_del == len(self.live)
        assert card["TX_TLS_CTX"] - card["TX_TLS_DEL"] == len(self.live)
        assert set(self.nic.send_tags) == {tag.handle for tag in self.live}
        for tag in self.live[-3:]:
            assert tag.query().tcp_sequence == tag.records.start_sequence
        for tag in self.dead[-3:]:
            self.watch.expect(Diagnostic.TLS_HANDLE)
            with pytest.raises(CommandError) as caught:
                self.nic.admin.execute_block(
                    TlsFlowQueryCommand(handle=tag.handle), length=TlsFlowState.SIZE
                )
            assert caught.value.status == CommandStatus.BAD_HANDLE
        self.watch.collect()


def test_sta_02_made_and_freed(nic, flows, watch, scale):
    """In any order, with refusals between."""
    rng = random.Random(2)
    contexts = Contexts(nic, flows, watch)
    contexts.check()
    for _ in range(scale(120, 25)):
        event = rng.random()
        if event < 0.5 or not contexts.live:
            contexts.make()
        elif event < 0.8:
            contexts.free(rng.randrange(len(contexts.live)))
        elif event < 0.9:
            tag = rng.choice(contexts.live)
            with pytest.raises(SendTagRefused) as caught:
                nic.snd_tag_alloc(tag.session, tag.address, 7)
            assert caught.value.status == CommandStatus.DUPLICATE
        elif contexts.dead:
            tag = rng.choice(contexts.dead)
            watch.expect(Diagnostic.TLS_HANDLE)
            with pytest.raises(CommandError) as caught:
                nic.admin.execute(TlsFlowDestroyCommand(handle=tag.handle))
            assert caught.value.status == CommandStatus.BAD_HANDLE
            tag.free()
        contexts.check()
    while contexts.live:
        contexts.free(0)
    contexts.check()
    assert nic.tls_counters.tx_tls_del == nic.tls_counters.tx_tls_ctx == contexts.made


@pytest.mark.parametrize("kind", ["soft", "function"])
def test_sta_02_resets(nic, flows, watch, kind):
    """None is left; those that come later are counted from there."""
    contexts = Contexts(nic, flows, watch)
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
        contexts.check()
        assert nic.statistics()["TX_TLS_CTX"] == 0


def test_sta_02_traffic_and_new_keys_change_nothing(nic, flows):
    several = [flows.open(suite, openssl=False) for suite in SUITES]
    for _ in range(2):
        for flow in several:
            flow.write(400, 300)
            flow.send_rest(250)
            flow.send(flow.start, 100)
            flow.check()
        several[0].rekey(make_session(SUITES[0], seed=9))
    counters = nic.tls_counters
    assert (counters.tx_tls_ctx, counters.tx_tls_del) == (2, 0)
    several[1].free()
    assert nic.tls_counters.tx_tls_del == nic.counters()["TX_TLS_DEL"] == 1

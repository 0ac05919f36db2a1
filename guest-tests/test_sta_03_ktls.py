"""STA-03: the KTLS counters of FreeBSD's kern.ipc.tls tree, by name: the exact change in each case, and
no other change.

Names and meaning are those of uipc_ktls.c and ktls_ocf.c. bytes_touched.* are this project's.
"""

import json

import pytest
from harness.ktls import CARD, CBC12, CHACHA13, GCM12, GCM13
from harness.ktls_two_cards import move_route, routed
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite, Diagnostic
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW

pytestmark = [pytest.mark.row("STA-03"), CARD, pytest.mark.root]
OCF = [
    *(f"stats.ocf.tls1{n}_cbc_encrypts" for n in range(3)),
    *(
        f"stats.ocf.tls1{n}_{cipher}_{what}"
        for n in (2, 3)
        for cipher in ("gcm", "chacha20")
        for what in ("encrypts", "decrypts", "recrypts")
    ),
]
FREEBSD = {
    "enable",
    "cbc_enable",
    "ifnet.permitted",
    "ifnet_max_rexmit_pct",
    "maxlen",
    *(f"{mode}.{cipher}" for mode in ("sw", "ifnet") for cipher in ("cbc", "gcm", "chacha20")),
    *(f"ifnet.{name}" for name in ("reset", "reset_dropped", "reset_failed")),
    *(
        f"stats.{name}"
        for name in (
            "active",
            "corrupted_records",
            "enable_calls",
            "failed_crypto",
            "ifnet_disable_failed",
            "ifnet_disable_ok",
            "offload_total",
            "sw_rx_inqueue",
            "sw_tx_inqueue",
            "sw_tx_pending",
            "switch_failed",
            "switch_to_ifnet",
            "switch_to_sw",
            "threads",
        )
    ),
    *OCF,
}


class Tally:
    """What has changed, but for the bytes that were touched."""

    def __init__(self, one):
        self.sysctl = one.kernel.sysctl
        self.before = self.now()

    def now(self):
        return {
            name.removeprefix("kern.ipc.tls."): value
            for name, value in self.sysctl.snapshot().items()
            if "bytes_touched" not in name
        }

    def changes(self):
        before, self.before = self.before, self.now()
        return {n: v - before[n] for n, v in self.before.items() if v != before[n]}


def test_sta_03_names(network):
    """All of FreeBSD's that this model has a meaning for, as a tree and as JSON."""
    one = network()
    tree = one.kernel.sysctl.snapshot()
    assert {"kern.ipc.tls." + name for name in FREEBSD} <= set(tree)
    own = {name for name in tree if name.removeprefix("kern.ipc.tls.") not in FREEBSD}
    assert all(name.startswith("kern.ipc.tls.bytes_touched.") for name in own)
    assert json.loads(one.kernel.sysctl.json()) == tree
    assert list(tree) == sorted(tree)
    assert tree["kern.ipc.tls.stats.threads"] == one.kernel.workers.threads
    with pytest.raises(KeyError):
        one.kernel.sysctl["stats.active"] = 3


ENABLED = {"stats.enable_calls": 1, "stats.active": 1, "stats.offload_total": 1}
NAMES = {GCM12: "gcm", GCM13: "gcm", CHACHA13: "chacha20", CBC12: "cbc"}


@pytest.mark.parametrize("suite", NAMES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("mode", [TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET], ids=["sw", "ifnet"])
def test_sta_03_a_session_that_sends(network, suite, mode):
    one = network()
    one.top.set_capability("txtls4", mode == TCP_TLS_MODE_IFNET)
    line = one.connect(suite)
    tally = Tally(one)
    line.enable_tx()
    kind = NAMES[suite]
    counter = f"{'sw' if mode == TCP_TLS_MODE_SW else 'ifnet'}.{kind}"
    assert tally.changes() == {**ENABLED, counter: 1}
    line.so.write(marked(40_000))
    assert line.arrived() == marked(40_000)
    version = "tls13" if suite in (GCM13, CHACHA13) else "tls12"
    encrypts = {f"stats.ocf.{version}_{kind}_encrypts": 3}
    assert tally.changes() == (encrypts if mode == TCP_TLS_MODE_SW else {})
    line.close()
    one.run(lambda: not one.stack.connections, "the connection ends")
    assert tally.changes() == {"stats.active": -1, counter: -1}


@pytest.mark.parametrize("suite", [GCM12, CHACHA13], ids=lambda suite: suite.name)
@pytest.mark.parametrize("mode", [TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET], ids=["sw", "ifnet"])
def test_sta_03_a_session_that_receives(network, suite, mode):
    one = network()
    one.top.set_capability("rxtls4", mode == TCP_TLS_MODE_IFNET)
    line = one.connect(suite)
    tally = Tally(one)
    line.enable_rx()
    counter = f"{'sw' if mode == TCP_TLS_MODE_SW else 'ifnet'}.{NAMES[suite]}"
    assert tally.changes() == {**ENABLED, counter: 1}
    line.far_write(*[marked(3000, n) for n in range(4)])
    assert len(line.read(12_000)) == 12_000
    version = "tls13" if suite == CHACHA13 else "tls12"
    decrypts = {f"stats.ocf.{version}_{NAMES[suite]}_decrypts": 4}
    assert tally.changes() == (decrypts if mode == TCP_TLS_MODE_SW else {})
    line.close()
    one.run(lambda: not one.stack.connections, "the connection ends")
    assert tally.changes() == {"stats.active": -1, counter: -1}


def test_sta_03_refused(network):
    """enable_calls counts calls, offload_total what came of them."""
    one = network()
    line = one.connect(GCM13)
    tally = Tally(one)
    line.enable_tx()
    tally.changes()
    with pytest.raises(OSError, match="session"):
        line.enable_tx()
    assert tally.changes() == {"stats.enable_calls": 1}


def test_sta_03_queues(network):
    """sw_tx_inqueue, sw_rx_inqueue: what workers have to do; sw_tx_pending: TLS 1.0's that wait."""
    one = network()
    one.stack.works = False
    one.top.set_capability("txtls4", False)
    one.top.set_capability("rxtls4", False)
    line = one.connect(GCM13)
    line.enable_tx()
    line.enable_rx()
    tally = Tally(one)
    line.so.write(marked(40_000))
    assert tally.changes() == {"stats.sw_tx_inqueue": 3}
    one.kernel.workers.drain()
    assert tally.changes() == {"stats.sw_tx_inqueue": -3, "stats.ocf.tls13_gcm_encrypts": 3}
    size = line.far_write(marked(500))
    one.run(lambda: line.so.so_rcv.sb_ccc == size, "it has come")
    assert tally.changes() == {"stats.sw_rx_inqueue": 1}
    one.kernel.workers.drain()
    assert tally.changes() == {"stats.sw_rx_inqueue": -1, "stats.ocf.tls13_gcm_decrypts": 1}
    assert line.read(500) == marked(500)
    assert line.arrived() == marked(40_000)
    old = one.connect(CipherSuite.TLS10_AES_CBC_SHA1)
    old.enable_tx()
    tally.changes()
    old.so.write(marked(100))
    old.so.write(marked(100))
    assert tally.changes() == {"stats.sw_tx_inqueue": 2, "stats.sw_tx_pending": 1}
    one.kernel.workers.drain()
    assert tally.changes() == {
        "stats.sw_tx_inqueue": -2,
        "stats.sw_tx_pending": -1,
        "stats.ocf.tls10_cbc_encrypts": 2,
    }
    assert old.arrived() == marked(200)[:100] + marked(100)


def test_sta_03_switches(network):
    one = network()
    line = one.connect(GCM12)
    line.enable_tx()
    tally = Tally(one)
    line.switch(TCP_TLS_MODE_SW)
    assert tally.changes() == {"stats.switch_to_sw": 1, "sw.gcm": 1, "ifnet.gcm": -1}
    one.top.set_capability("txtls4", False)
    with pytest.raises(OSError, match="switched off"):
        line.switch(TCP_TLS_MODE_IFNET)
    assert tally.changes() == {"stats.switch_failed": 1}
    one.top.set_capability("txtls4", True)
    line.switch(TCP_TLS_MODE_IFNET)
    assert tally.changes() == {"stats.switch_to_ifnet": 1, "sw.gcm": -1, "ifnet.gcm": 1}


def test_sta_03_records_that_are_wrong(network, watch):
    watch.allow(Diagnostic.TLS_AUTH)
    one = network()
    one.top.set_capability("rxtls4", False)
    line = one.connect(GCM13)
    line.enable_rx()
    tally = Tally(one)
    bad = bytearray(line.end.seal(marked(100)))
    bad[-1] ^= 1
    line.far_send(bytes(bad))
    with pytest.raises(OSError, match="message"):
        line.so.recvmsg(1000)
    assert tally.changes() == {"stats.failed_crypto": 1, "stats.ocf.tls13_gcm_decrypts": 1}
    line.far_send(b"\x17\3\0\0\x40" + bytes(64))
    with pytest.raises(OSError, match="argument"):
        line.so.recvmsg(1000)
    line.await_reset()
    line.close()
    assert tally.changes() == {"stats.corrupted_records": 1, "stats.active": -1, "sw.gcm": -1}


def test_sta_03_tags_made_anew(network):
    one = routed(network)
    line = one.connect(GCM13)
    line.enable_tx()
    tally = Tally(one)
    for card, expected in ((1, {"ifnet.reset": 1}), (0, {"ifnet.reset": 1})):
        move_route(one, card)
        line.so.write(marked(1000, card))
        line.flush()
        assert tally.changes() == expected
    assert line.arrived() == marked(1000, 1) + marked(1000, 0)
    one.ifnets[1].set_capability("txtls4", False)
    move_route(one, 1)
    line.so.write(marked(1000))
    one.run(lambda: not one.stack.connections, "the connection ends")
    line.close()
    assert tally.changes() == {"ifnet.reset_dropped": 1, "stats.active": -1, "ifnet.gcm": -1}

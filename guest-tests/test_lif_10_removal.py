"""LIF-10: the card is gone, with TLS flows open: every wait ends long before its deadline, and the
driver says "device gone".

A guest cannot lose its card and go on, so the host kills a device process of its own under a
client (`tlsnic.qemu.peer.removal`); on the host it is the same. The driver in the guest is shown
registers that read all ones, as PCIe has it when nothing answers (PCIe 5.0 section 2.3.2), and
doorbells that nobody hears.
"""

import contextlib
import time

import pytest
from harness.fixtures import await_link
from harness.removal import remove
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.errors import DeviceGoneError, RingFullError, SendTagDeadError
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = [pytest.mark.row("LIF-10"), pytest.mark.deadline(60)]

DEADLINE_S = 60.0
LIMIT_S = 20.0
GCM13 = CipherSuite.TLS13_AES_128_GCM
IN_GUEST = ["alloc", "free"]
ON_HOST = [
    *("command", "rekey", "rate", "query", "drain", "full ring", "another queue"),
    *("receive", "event", "statistics", "counters"),
]


@pytest.mark.parametrize(
    "wait", [*IN_GUEST, *(pytest.param(name, marks=pytest.mark.side("host")) for name in ON_HOST)]
)
def test_lif_10_device_dies_under_a_wait(peer, wait):
    report = peer.check("removal", waits=[wait])
    assert "device gone" in report["said"][wait]
    assert report["longest_s"] < LIMIT_S


@pytest.mark.side("host")
def test_lif_10_every_wait_on_a_dead_device(peer):
    """One after the other, in this order and turned round."""
    names = IN_GUEST + ON_HOST
    for first, *later in (names, names[::-1]):
        report = peer.check("removal", waits=[first], afterwards=later)
        assert report["longest_s"] < LIMIT_S


def fill_ring(nic, flow):
    """Transmit until there is no room, then wait for some."""
    flow.write(*[200] * 2 * nic.tx[0].entries)
    at = flow.sent_end
    with contextlib.suppress(RingFullError):
        for _ in range(2 * nic.tx[0].entries):
            headers, payload = flow.headers(at, 100), flow.tag.records.read(at, 100)
            flow.tag.transmit(nic.tx[0], headers, at, payload)
            at = at + 100 & 0xFFFF_FFFF
    assert not nic.tx[0].free
    nic.tx[0].wait_free(1, DEADLINE_S)


WAITS = {
    "alloc": lambda nic, flow: nic.snd_tag_alloc(
        make_session(GCM13, seed=10), flow.address._replace(local_port=9), 1
    ),
    "query": lambda nic, flow: flow.tag.query(DEADLINE_S),
    "transmit": fill_ring,
    "receive": lambda nic, flow: nic.receive(DEADLINE_S),
}


@pytest.mark.nic(command_timeout_s=DEADLINE_S)
@pytest.mark.parametrize("wait", WAITS)
def test_lif_10_reads_all_ones(nic, watch, flows, monkeypatch, wait):
    """Each wait finds out by itself; then flows are dead and free is harmless. What the card had
    is lost; a card that comes back is reset, and has the connection again."""
    flow, other = flows.open(GCM13), flows.open(GCM13, openssl=False)
    flow.write(500)
    flow.send_rest()
    flow.check()
    watch.checkpoint()
    tags = flow.tag, other.tag
    start_s = time.monotonic()
    with monkeypatch.context() as patch:
        remove(nic, patch)
        with pytest.raises(DeviceGoneError, match="device gone"):
            WAITS[wait](nic, flow)
        posted = nic.tx[0].posted
        for tag in tags:
            assert not tag.is_alive
            for use in (
                tag.query,
                lambda tag=tag: tag.modify_rate(1),
                lambda tag=tag: tag.modify_rekey(make_session(GCM13), flow.end),
                lambda tag=tag: tag.transmit(nic.tx[0], b"", flow.start, b"x"),
            ):
                with pytest.raises(SendTagDeadError, match="device gone"):
                    use()
            tag.free()
        assert nic.tx[0].posted == posted
        assert nic.send_tags == {}
        with pytest.raises(DeviceGoneError):
            nic.drain_tx(DEADLINE_S) if nic.tx[0].pending else nic.check()
    assert time.monotonic() - start_s < LIMIT_S
    flow.to_software()
    other.to_software()
    nic.reset()
    await_link(nic)
    watch.start_again()
    flow.sent_end = flow.end
    flows.flows.clear()
    again = flows.open(GCM13, address=flow.address, sequence=flow.end)
    again.write(700)
    assert again.send_rest()[0].kind is OutcomeKind.IN_ORDER
    again.check()

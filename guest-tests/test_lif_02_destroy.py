"""LIF-02: destroy is a fence. What was posted before it leaves encrypted, before the answer comes;
what is posted after it with the handle is dropped and counted.

The card takes commands and packets from rings of their own, so "after" begins when it has taken the
command; in between a packet may fall on either side.
"""

import pytest
from harness.fixtures import wait_for

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, TxFlags, TxStatus
from tlsnic.abi.structures import TlsFlowDestroyCommand
from tlsnic.driver.errors import CommandError, SendTagDeadError
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("LIF-02")

MASK = 0xFFFF_FFFF
KINDS = {
    "GCM, TLS 1.2": {"suite": CipherSuite.TLS12_AES_128_GCM},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
}


def post(flow, at, length, *, queue, handle):
    """A packet with whatever handle, as no driver would; nothing is waited for."""
    headers = flow.headers(at, length)
    queue.send(
        headers + flow.records.read(at, length),
        checksum=True,
        send_tag=handle,
        header_length=len(headers),
        flags=TxFlags.TLS,
        report=True,
    )


def assert_all_left(nic, flow, packets):
    """Right after the answer, before anything else is done."""
    counters = nic.counters()
    assert counters["TX_TLS_ENCRYPTED_PACKETS"] == packets
    assert counters["TX_SENT_PACKETS"] == counters["TX_PACKETS"] >= packets
    assert counters["TX_TLS_DEL"] == 1
    assert flow.tag is None


@pytest.mark.parametrize("kind", KINDS)
def test_lif_02_batch_that_was_not_rung(nic, flows, kind):
    """The driver's `free` rings for what it has posted, and the card sends that first."""
    flow = flows.open(**KINDS[kind])
    flow.write(*[900] * 12)
    size, at = flow.end - flow.start & MASK, 0
    packets = 0
    with flow.queue.batch():
        while at < size:
            length = min(700, size - at)
            headers = flow.headers(flow.start + at, length)
            payload = flow.records.read(flow.start + at, length)
            flow.tag.transmit(flow.queue, headers, flow.start + at & MASK, payload)
            at += length
            packets += 1
        assert nic.counters()["TX_PACKETS"] == 0, "the batch was rung too early"
        flow.free()
    flow.sent_end = flow.end
    assert_all_left(nic, flow, packets)
    flow.check()
    flow.write(300)
    assert flow.send_rest()[0].kind is OutcomeKind.SOFTWARE
    flow.check()


@pytest.mark.nic(tx_queues=4)
def test_lif_02_several_queues(nic, flows):
    """The flow's packets are last on each of the queues, behind super-packets of another one."""
    other = flows.open(CipherSuite.TLS12_CHACHA20_POLY1305, openssl=False)
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    flow.write(4000)
    flow.send_rest()
    flow.check()
    already = nic.counters()["TX_TLS_ENCRYPTED_PACKETS"]
    other.write(*[16000] * 4)
    offsets = [0, 700, 1900, 2500]
    size = other.end - other.start & MASK
    step = size // 4
    # On all queues at once, so what the card repeats needs no order: retransmits.
    other.send(other.sent_end, size - 3 * step, queue=nic.tx[0], mss=1400)
    for number, queue in enumerate(nic.tx):
        if number:
            other.send(other.sent_end, step, queue=queue, mss=1400)
    for at, queue in zip(offsets, nic.tx, strict=True):
        # Not SendTag.transmit, which waits for the last queue before it goes to another.
        flow.tag._queue = queue
        assert flow.send(flow.start + at, 600, queue=queue).kind is OutcomeKind.PRESYNC
    flow.free()
    assert_all_left(nic, flow, already + 4 + 4)
    resent = flow.stream.resent_bytes
    flow.check()
    assert flow.stream.resent_bytes - resent == 4 * 600
    other.check()


def test_lif_02_rate_limit_holds_packets(nic, flows):
    """At 1000 bytes per second these would take minutes; destroy lifts the limit."""
    flow = flows.open(rate_bytes_per_s=1000)
    flow.write(*[16384] * 4)
    flow.send_rest(8000, mss=1400)
    nic.drain_tx(5)
    held = nic.counters()
    assert held["TX_SENT_PACKETS"] < held["TX_TLS_ENCRYPTED_PACKETS"], "nothing is held back"
    flow.free()
    assert_all_left(nic, flow, held["TX_TLS_ENCRYPTED_PACKETS"])
    flow.check()


def test_lif_02_rate_limit_holds_the_queue(nic, flows):
    """More than 256 KiB: the queue waits with the flow's next packets, and they leave as well."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM, rate_bytes_per_s=1000, openssl=False)
    flow.write(*[16384] * 20)
    packets = len(flow.send_rest(16000, mss=1400))
    for _ in range(3):
        nic.admin.nop()
    flow.queue.reap()
    assert flow.queue.pending, "the queue does not wait"
    flow.free()
    assert_all_left(nic, flow, packets)
    flow.check()


def destroy(nic, tag):
    """The command, until the card has taken it; not its answer."""
    tag._close()
    wait_for(lambda: (status := nic.admin.status()).head == status.tail, "the command is taken")


@pytest.mark.nic(tx_queues=2, tx_entries=256, tx_bounce_bytes=1 << 21)
@pytest.mark.parametrize("queue_number", [0, 1], ids=["same queue", "another queue"])
def test_lif_02_posted_after_destroy(nic, watch, flows, queue_number, scale):
    """Good packets, next in order, while the card has much to do that was posted before."""
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM, openssl=False)
    flow.write(*[16384] * scale(80, 36))
    with flow.queue.batch():
        before = len(flow.send_rest(40000, mss=1400))
    flow.write(*[300] * 4)
    tag, queue = flow.tag, nic.tx[queue_number]
    destroy(nic, tag)
    at, size = flow.sent_end, flow.end - flow.sent_end & MASK
    late = [(at + back & MASK, min(200, size - back)) for back in range(0, size, 200)]
    for sequence, length in late:
        post(flow, sequence, length, queue=queue, handle=tag.handle)
    watch.expect(Diagnostic.TLS_DESTROYED, len(late))
    with pytest.raises(SendTagDeadError, match="being freed"):
        tag.transmit(queue, flow.headers(at, 1), at, b"x")
    flow.free()
    nic.drain_tx(5)
    assert [drop.status for drop in queue.drops] == [TxStatus.TLS_DROPPED] * len(late)
    counters = nic.counters()
    assert counters["TX_TLS_ENCRYPTED_PACKETS"] == before
    assert counters["TX_TLS_DROP_BAD_HANDLE"] == counters["TX_DROP_TLS"] == len(late)
    flow.check()
    assert {outcome.kind for outcome in flow.send_rest()} == {OutcomeKind.SOFTWARE}
    flow.check()


def test_lif_02_posted_together_with_destroy(nic, watch, flows, scale):
    """On either side of the fence: encrypted, or dropped and counted."""
    watch.allow(Diagnostic.TLS_DESTROYED)
    for _ in range(scale(30, 5)):
        flow = flows.open(openssl=False)
        flow.write(2000, 1000, 1000)
        flow.send(flow.start, 2000, mss=500)
        dropped = len(nic.tx[0].drops)
        tag, at = flow.tag, flow.sent_end
        size = flow.end - at & MASK
        tag._close()
        for back in range(0, size, 400):
            length = min(400, size - back)
            post(flow, at + back & MASK, length, queue=nic.tx[0], handle=tag.handle)
        flow.free()
        nic.drain_tx(5)
        drops = list(nic.tx[0].drops)[dropped:]
        assert {drop.detail for drop in drops} <= {Diagnostic.TLS_DESTROYED}
        flows.collect()
        left = -(-size // 400) - len(drops)
        arrived = flow.stream.end_offset - 2000
        assert arrived == min(size, 400 * left)
        assert flow.stream.wire() == flow.expected(flow.start, 2000 + arrived)


def test_lif_02_another_command_overtakes(nic, flows):
    """Others are answered while one waits, and a second destroy of the flow is refused."""
    flow = flows.open(CipherSuite.TLS12_AES_256_GCM)
    other = flows.open(CipherSuite.TLS13_AES_128_GCM)
    flow.write(*[16000] * 6)
    flow.send_rest(48000, mss=1400)
    flow.tag._close()
    assert other.tag.query().tcp_sequence == other.start
    flow.free()
    assert nic.admin.free == nic.admin.entries - 1
    other.write(500)
    other.send_rest()
    other.check()
    flow.check()


def test_lif_02_destroyed_twice(nic, watch, flows):
    """The second command finds a stale handle, be the fence passed or not."""
    flow = flows.open()
    flow.write(*[16000] * 4)
    flow.send_rest(48000, mss=1400)
    handle = flow.tag.handle
    flow.tag._close()
    again = nic.admin.submit(TlsFlowDestroyCommand(handle=handle))
    watch.expect(Diagnostic.TLS_HANDLE)
    flow.free()
    with pytest.raises(CommandError) as caught:
        nic.admin.result(again)
    assert caught.value.status == CommandStatus.BAD_HANDLE
    assert nic.counters()["TX_TLS_DEL"] == 1
    flow.check()

"""SET-10 and SET-11: handles that were never given out, or are of a flow that is gone, do nothing,
and a reset leaves nothing of a flow.
"""

import random

import pytest
from harness.fixtures import await_link
from harness.tls_start import make_session

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, TxFlags, TxStatus
from tlsnic.abi.structures import (
    TlsFlow,
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowRateCommand,
    TlsFlowRekeyCommand,
    TlsFlowState,
)
from tlsnic.driver.errors import CommandError, SendTagDeadError
from tlsnic.driver.tls.send_tag import OutcomeKind

ROW_10, ROW_11 = pytest.mark.row("SET-10"), pytest.mark.row("SET-11")
GCM, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_256_GCM


def carry(flow, *, by=OutcomeKind.IN_ORDER):
    """The connection works, and it is known who encrypts."""
    flow.write(1500)
    assert {outcome.kind for outcome in flow.send_rest()} == {by}
    flow.check()


def post(flow, handle):
    """A packet of `flow`, with whatever handle, as no driver would."""
    at, length = flow.sent_end, flow.end - flow.sent_end & 0xFFFF_FFFF
    headers = flow.headers(at, length)
    flow.queue.send(
        headers + flow.records.read(at, length),
        checksum=True,
        send_tag=handle,
        header_length=len(headers),
        flags=TxFlags.TLS,
        report=True,
    )


def forged(live, rng, count):
    """Handles that the card never gave out, many of them next to one that it did."""
    near = {live ^ 1 << bit for bit in range(32)} | {live - 1, live + 1, 0, 0xFFFF_FFFF}
    some = rng.sample(sorted(near), min(count, len(near)))
    return [*some, *(rng.getrandbits(32) | 1 << 31 for _ in range(count - len(some)))]


@ROW_10
def test_set_10_packets_with_a_forged_handle(nic, watch, flows, scale):
    """Nothing leaves, which the fixture sees to, and the flow does not notice."""
    flow = flows.open()
    carry(flow)
    flow.write(200)
    handles = forged(flow.tag.handle, random.Random(10), scale(200, 24))
    watch.allow(Diagnostic.TLS_HANDLE)
    watch.allow(Diagnostic.TLS_DESTROYED)  # earlier tests had the slots beside it
    for handle in handles:
        post(flow, handle)
        nic.tx[0].drain(5)
        watch.collect()
    assert {drop.status for drop in nic.tx[0].drops} == {TxStatus.TLS_DROPPED}
    assert nic.counters()["TX_TLS_DROP_BAD_HANDLE"] == len(handles)
    assert flows.collect() == []
    carry(flow)


@ROW_10
def test_set_10_packets_with_a_stale_handle(nic, watch, flows, scale):
    """Also when another flow has the slot: the connection is the same, only the handle is old."""
    flow = flows.open(openssl=False)
    stale = []
    for _ in range(scale(50, 8)):
        carry(flow)
        stale.append(flow.tag.handle)
        flow.free()
        flow.write(100)
        watch.expect(Diagnostic.TLS_DESTROYED)
        post(flow, stale[-1])
        nic.tx[0].drain(5)
        flow.send_rest()
        flow.offload()
        watch.collect()
    assert flow.tag.handle not in stale
    assert len(set(stale)) == len(stale)
    assert nic.counters()["TX_TLS_DROP_BAD_HANDLE"] == len(stale)
    carry(flow)


@ROW_10
@pytest.mark.parametrize("kind", ["stale", "forged"])
def test_set_10_commands(nic, watch, flows, kind):
    flow = flows.open()
    carry(flow)
    other = flows.open()
    handle = other.tag.handle
    other.free()
    if kind == "forged":
        handle = flow.tag.handle ^ 1 << 31
    with nic.bus.dma_alloc(TlsFlow.SIZE, 64) as block:
        for command in (
            TlsFlowQueryCommand(handle=handle, address=block.iova, length=TlsFlowState.SIZE),
            TlsFlowRekeyCommand(handle=handle, address=block.iova, length=TlsFlow.SIZE),
            TlsFlowRateCommand(handle=handle, rate_bytes_per_s=1),
            TlsFlowDestroyCommand(handle=handle),
        ):
            watch.expect(Diagnostic.TLS_HANDLE)
            with pytest.raises(CommandError) as caught:
                nic.admin.execute(command)
            assert caught.value.status == CommandStatus.BAD_HANDLE
        assert bytes(block.view) == bytes(TlsFlow.SIZE), "something was written for it"
    assert nic.counters()["TX_TLS_DEL"] == 1
    carry(flow)


@ROW_11
@pytest.mark.parametrize("kind", ["soft", "function"])
def test_set_11_add_reset_add(nic, watch, flows, kind):
    """The same connection, with other keys: state and counters start anew, the old handle stays
    stale, and the old tag says why it is dead."""
    flow = flows.open(GCM, rate_bytes_per_s=1 << 30)
    carry(flow)
    flow.send(flow.start, 800)
    flow.check()
    tag = flow.tag
    watch.checkpoint()
    nic.reset(function=kind == "function")
    await_link(nic)
    watch.start_again()
    with pytest.raises(SendTagDeadError, match="reset"):
        carry(flow)
    flow.to_software()
    flow.send_rest()
    flow.check()
    assert nic.tls_counters.tx_tls_del == 1
    assert {name: n for name, n in nic.counters().items() if "TLS" in name and n} == {}

    again = flows.open(GCM13, address=flow.address, sequence=flow.end)
    assert again.tag.handle != tag.handle
    state = again.tag.query()
    assert state == TlsFlowState(tcp_sequence=flow.end, direction=state.direction)
    flow.write(100)
    watch.expect(Diagnostic.TLS_DESTROYED)
    post(flow, tag.handle)
    nic.tx[0].drain(5)
    assert flows.collect() == []
    again.write(3000)
    again.send_rest()
    flows.collect()
    wire = again.stream.wire()
    assert wire == again.expected_all()
    again.check_decrypts(wire)


@ROW_11
def test_set_11_reset_empties_the_table(nic, watch, flows, scale):
    """Every connection that there was can be offloaded again, and none counts as a duplicate."""
    addresses = []
    for _ in range(scale(100, 10)):
        addresses.append(flows.open(openssl=False).address)
    watch.checkpoint()
    nic.reset()
    watch.start_again()
    session = make_session(GCM, seed=11)
    handles = {nic.snd_tag_alloc(session, address, 1).handle for address in addresses}
    assert len(handles) == len(addresses) == nic.counters()["TX_TLS_CTX"]
    assert nic.tls_counters.tx_tls_ctx - nic.tls_counters.tx_tls_del == len(addresses)
    for tag in list(nic.send_tags.values()):
        tag.free()

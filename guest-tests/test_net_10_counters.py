"""NET-10: counters: every frame is counted once, sent = received + dropped by reason."""

import random

import pytest
from harness.fixtures import await_link, wait_for
from harness.traffic import BROADCAST, PEER_MAC, frame, noise, padded, tcp_layers
from harness.watch import check_balance

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import Diagnostic, Offload, QueueState
from tlsnic.abi.structures import TxDescriptor

pytestmark = [pytest.mark.row("NET-10"), pytest.mark.nic(rx_queues=2)]
NOWHERE = 0x7000_0000_0000
GROUP = bytes.fromhex("01005e000001")


def changes(nic, before):
    """Counters that are not what they were, and by how much."""
    after = nic.counters()
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def without_interrupts(found):
    """INTERRUPTS depends on how the test waits."""
    return {name: value for name, value in found.items() if name != "INTERRUPTS"}


def settle(nic, wire_frames, before):
    """Until the card has taken `wire_frames` frames since `before`."""
    start = before["RX_WIRE_FRAMES"]
    wait_for(lambda: nic.counters()["RX_WIRE_FRAMES"] - start >= wire_frames, "all frames came")


def test_net_10_all_zero_after_reset(nic):
    assert not any(without_interrupts(nic.counters()).values())


def test_net_10_transmit_exactly(nic, peer):
    before = nic.counters()
    lengths = [14, 42, 60, 61, 1514]
    frames = [frame(PEER_MAC, nic.mac_address, n, n) for n in lengths]
    for one in frames:
        nic.tx[0].send(one)
    peer.receive_many(len(frames))
    nic.drain_tx(5)
    assert without_interrupts(changes(nic, before)) == {
        "TX_PACKETS": 5,
        "TX_SENT_PACKETS": 5,
        "TX_FRAMES": 5,
        "TX_BYTES": sum(len(padded(one)) for one in frames),
    }


def test_net_10_receive_exactly(nic, peer):
    nic.offloads = Offload.RX_CHECKSUM
    nic.set_mac_filters([GROUP])
    bad = peer.craft([*tcp_layers(nic.mac_address.hex(":"), to_nic=True, chksum=1), noise(50, 1)])
    frames = [
        frame(nic.mac_address, PEER_MAC, 60, 1),
        frame(nic.mac_address, PEER_MAC, 1514, 2),
        frame(GROUP, PEER_MAC, 100, 3),
        frame(BROADCAST, PEER_MAC, 101, 4),
        frame(BROADCAST, PEER_MAC, 102, 5),
        *bad,
    ]
    before = nic.counters()
    peer.send(*frames)
    for one in frames:
        packet = nic.receive(5)
        assert packet is not None
        assert packet.data == one
    assert without_interrupts(changes(nic, before)) == {
        "RX_WIRE_FRAMES": 6,
        "RX_FRAMES": 6,
        "RX_BYTES": sum(map(len, frames)),
        "RX_PACKETS": 6,
        "RX_MULTICAST": 1,
        "RX_BROADCAST": 2,
        "RX_CHECKSUM_BAD": 1,
    }


def test_net_10_receive_drops_by_reason(nic, peer, watch):
    mac = nic.mac_address
    cases = {
        "RX_DROP_FILTER": frame(bytes(5) + b"\2", PEER_MAC, 60),
        "RX_DROP_RUNT": frame(mac, PEER_MAC, 14)[:13],
        "RX_DROP_OVERSIZE": frame(mac, PEER_MAC, nic.max_frame_bytes + 1),
    }
    for name, content in cases.items():
        before = nic.counters()
        peer.send(content)
        settle(nic, 1, before)
        assert without_interrupts(changes(nic, before)) == {"RX_WIRE_FRAMES": 1, name: 1}
    nic.enable_traffic(transmit=True, receive=False)
    before = nic.counters()
    peer.send(frame(mac, PEER_MAC, 60))
    settle(nic, 1, before)
    assert changes(nic, before) == {"RX_WIRE_FRAMES": 1, "RX_DROP_DISABLED": 1}
    nic.enable_traffic(transmit=True, receive=True)
    nic.rx[0].disable()
    watch.expect(Diagnostic.RX_QUEUE_DISABLED)
    before = nic.counters()
    peer.send(frame(mac, PEER_MAC, 60))
    settle(nic, 1, before)
    change = without_interrupts(changes(nic, before))
    assert change == {"RX_WIRE_FRAMES": 1, "RX_DROP_DISABLED": 1}
    nic.rx[0].enable()


def test_net_10_receive_drop_without_buffer(nic, peer, watch):
    extra = 4
    watch.expect(Diagnostic.RX_NO_BUFFER, extra)
    count = nic.rx[0].entries - 1
    frames = [frame(nic.mac_address, PEER_MAC, 60, n) for n in range(count + extra)]
    before = nic.counters()
    peer.send(*frames)
    settle(nic, len(frames), before)
    assert without_interrupts(changes(nic, before)) == {
        "RX_WIRE_FRAMES": count + extra,
        "RX_FRAMES": count,
        "RX_BYTES": 60 * count,
        "RX_PACKETS": count,
        "RX_DROP_NO_BUFFER": extra,
    }


@pytest.mark.nic(rx_buffer_bytes=0)
def test_net_10_receive_drop_for_dma(nic, peer, watch):
    watch.expect(Diagnostic.DMA_FAULT)
    nic.rx[0].post_descriptors([NOWHERE.to_bytes(8, "little") + (2048).to_bytes(8, "little")])
    before = nic.counters()
    peer.send(frame(nic.mac_address, PEER_MAC, 60))
    settle(nic, 1, before)
    assert without_interrupts(changes(nic, before)) == {"RX_WIRE_FRAMES": 1, "RX_DROP_DMA": 1}
    assert nic.rx[0].state == QueueState.ERROR


def test_net_10_transmit_drops_by_reason(nic, peer, watch):
    tx = nic.tx[0]
    watch.expect(Diagnostic.TX_LENGTH)
    before = nic.counters()
    tx.send(frame(PEER_MAC, nic.mac_address, nic.max_frame_bytes + 5))
    tx.drain(5)
    assert without_interrupts(changes(nic, before)) == {
        "TX_PACKETS": 1,
        "TX_DROP_BAD_PACKET": 1,
    }
    watch.expect(Diagnostic.DMA_FAULT)
    before = nic.counters()
    ticket = tx.send_descriptors([TxDescriptor(address=NOWHERE, length=60, flags=1)])
    nic.admin.nop()
    tx.reap()
    assert tx.is_done(ticket), "a dropped packet is always reported"
    assert without_interrupts(changes(nic, before)) == {"TX_PACKETS": 1, "TX_DROP_DMA": 1}
    tx.restart()
    peer.set_link(False)
    await_link(nic, False)
    watch.expect(Diagnostic.TX_LINK_DOWN)
    before = nic.counters()
    tx.send(frame(PEER_MAC, nic.mac_address, 60))
    tx.drain(5)
    assert without_interrupts(changes(nic, before)) == {
        "TX_PACKETS": 1,
        "TX_DROP_LINK_DOWN": 1,
    }


def test_net_10_mixture_balances(nic, peer, watch, scale):
    rng = random.Random(10)
    count = scale(300, 50)
    taken = 0
    out = 0
    before = nic.counters()
    far_before = peer.counts()
    for number in range(count):
        choice = rng.random()
        mac = nic.mac_address
        if choice < 0.3:
            peer.send(frame(mac, PEER_MAC, rng.randint(60, 1514), number))
            packet = nic.receive(5)
            assert packet is not None
            taken += 1
        elif choice < 0.4:
            peer.send(frame(bytes(6), PEER_MAC, 60, number))
        elif choice < 0.5:
            peer.send(frame(mac, PEER_MAC, 1600, number))
        elif choice < 0.9:
            nic.tx[0].send(frame(PEER_MAC, mac, rng.randint(60, 1514), number))
            peer.receive()
            out += 1
        else:
            watch.expect(Diagnostic.TX_LENGTH)
            nic.tx[0].send(frame(PEER_MAC, mac, 1600, number))
    nic.drain_tx(5)
    far = peer.counts()
    settle(nic, far["sent"] - far_before["sent"], before)
    found = changes(nic, before)
    assert found["RX_WIRE_FRAMES"] == far["sent"] - far_before["sent"]
    assert found["RX_FRAMES"] == found["RX_PACKETS"] == taken
    assert found["TX_FRAMES"] == far["received"] - far_before["received"] == out
    check_balance(nic.counters())


def test_net_10_statistics_command_agrees_with_the_registers(nic, peer):
    nic.tx[0].send(frame(PEER_MAC, nic.mac_address, 60))
    peer.receive()
    nic.drain_tx(5)
    block = nic.statistics()
    registers = nic.counters()
    assert block["TX_PACKETS"] == 1
    assert without_interrupts(block) == without_interrupts(registers)


def test_net_10_counters_read_as_halves_or_whole(nic, peer, bus):
    for number in range(3):
        nic.tx[0].send(frame(PEER_MAC, nic.mac_address, 60, number))
    peer.receive_many(3)
    nic.drain_tx(5)
    registers = bus.bar(0)
    low, high = registers.read32(reg.TX_BYTES), registers.read32(reg.TX_BYTES + 4)
    assert low | high << 32 == registers.read64(reg.TX_BYTES) == 180

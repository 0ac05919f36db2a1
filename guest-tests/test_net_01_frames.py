"""NET-01: frames from 60 to 9018 bytes both ways, bit for bit; chains; many frames per doorbell."""

import itertools
import random

import pytest
from harness.traffic import PEER_MAC, frame, noise

from tlsnic.abi.enums import TxFlags
from tlsnic.abi.structures import TxDescriptor

pytestmark = pytest.mark.row("NET-01")
LENGTHS = (60, 61, 63, 64, 65, 127, 128, 129, 1513, 1514, 2047, 2048, 2049, 4096, 9017, 9018)


def lengths(count: int, seed: int) -> list[int]:
    """The interesting lengths, and others, `count` in all."""
    rng = random.Random(seed)
    return (list(LENGTHS) + [rng.randint(60, 9018) for _ in range(count)])[:count]


def test_net_01_transmit_every_length_bit_for_bit(nic, peer, scale):
    nic.max_frame_bytes = 9018
    mac = nic.mac_address
    count = scale(400, 40)
    for start in range(0, count, 20):
        batch = lengths(count, 1)[start : start + 20]
        frames = [frame(PEER_MAC, mac, n, start + i) for i, n in enumerate(batch)]
        for one in frames:
            nic.tx[0].send(one)
        assert peer.receive_many(len(frames)) == frames
        nic.drain_tx(5)


@pytest.mark.nic(rx_entries=256)
def test_net_01_receive_every_length_bit_for_bit(nic, peer, scale):
    nic.max_frame_bytes = 9018
    mac = nic.mac_address
    count = scale(400, 40)
    for start in range(0, count, 20):
        batch = lengths(count, 2)[start : start + 20]
        frames = [frame(mac, PEER_MAC, n, start + i) for i, n in enumerate(batch)]
        peer.send(*frames)
        packets = nic.rx[0].receive_many(len(frames), 5)
        assert [packet.data for packet in packets] == frames
        for packet, one in zip(packets, frames, strict=True):
            assert packet.length == len(one)
            assert packet.buffers == -(-len(one) // nic.options.rx_buffer_bytes)
            assert packet.segments == 1


def test_net_01_short_frame_is_padded_with_zeros_to_60(nic, peer):
    short = frame(PEER_MAC, nic.mac_address, 42)
    nic.tx[0].send(short)
    assert peer.receive() == short + bytes(18)


def test_net_01_several_descriptors_per_frame(nic, bus, peer, scale, defer):
    rng = random.Random(3)
    nic.max_frame_bytes = 9018
    room = bus.dma_alloc(1 << 16)
    defer(room.free)
    limit = nic.capabilities.max_chain
    chains = [1, 2, 3, 8, 16, limit - 2] + [rng.randint(2, 32) for _ in range(scale(60, 6))]
    for number, pieces in enumerate(chains):
        length = rng.randint(max(60, pieces), 9018)
        content = frame(PEER_MAC, nic.mac_address, length, number)
        cuts = [0, *sorted(rng.sample(range(1, length), pieces - 1)), length]
        descriptors = []
        at = 0
        for first, last in itertools.pairwise(cuts):
            room.view[at : at + last - first] = content[first:last]
            is_end = last == length
            flags = TxFlags.END_OF_PACKET if is_end else TxFlags(0)
            if not first:
                flags |= TxFlags.REPORT
            descriptors.append(
                TxDescriptor(address=room.iova + at, length=last - first, flags=flags)
            )
            at += last - first + rng.randint(0, 3)  # any alignment
        ticket = nic.tx[0].send_descriptors(descriptors)
        assert peer.receive() == content, f"{pieces} descriptors"
        nic.tx[0].wait_done(ticket, 5)


@pytest.mark.nic(rx_buffer_bytes=64, rx_entries=256)
def test_net_01_several_buffers_per_received_frame(nic, peer):
    nic.max_frame_bytes = 9018
    for number, length in enumerate((60, 64, 65, 128, 1514, 9018)):
        content = frame(nic.mac_address, PEER_MAC, length, number)
        peer.send(content)
        packet = nic.receive(5)
        assert packet is not None
        assert packet.data == content
        assert packet.buffers == -(-length // 64)


def test_net_01_many_frames_per_doorbell(nic, peer, scale):
    tx = nic.tx[0]
    per_doorbell = tx.entries - 1
    before = nic.counters()["TX_PACKETS"]
    rounds = scale(40, 3)
    for number in range(rounds):
        frames = [
            frame(PEER_MAC, nic.mac_address, 60 + i, number * 100 + i) for i in range(per_doorbell)
        ]
        with tx.batch():
            for one in frames:
                tx.send(one)
            assert tx.status().tail == (number * per_doorbell) % tx.entries, "rung early"
        assert peer.receive_many(per_doorbell) == frames
        nic.drain_tx(5)
    assert nic.counters()["TX_PACKETS"] - before == rounds * per_doorbell


@pytest.mark.nic(rx_entries=512)
def test_net_01_many_frames_received_before_one_look(nic, peer):
    frames = [frame(nic.mac_address, PEER_MAC, 60 + i, i) for i in range(400)]
    peer.send(*frames)
    assert [packet.data for packet in nic.rx[0].receive_many(400, 10)] == frames


def test_net_01_content_patterns_survive(nic, peer):
    patterns = [bytes(46), b"\xff" * 46, bytes(range(46)), noise(46, 5)]
    for body in patterns:
        out = PEER_MAC + nic.mac_address + b"\x88\xb5" + body
        back = nic.mac_address + PEER_MAC + b"\x88\xb5" + body
        nic.tx[0].send(out)
        peer.send(back)
        assert peer.receive() == out
        packet = nic.receive(5)
        assert packet is not None
        assert packet.data == back

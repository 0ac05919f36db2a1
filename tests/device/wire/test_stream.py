"""Stream wires: QEMU's framing at every split, links that come and go, peers that misbehave."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.device.wire import (
    MAX_FRAME_BYTES,
    StreamWire,
    VnetHeader,
    WireError,
    WireEventKind,
    open_tcp,
    open_tcp_listener,
    open_unix,
    open_unix_listener,
)
from tlsnic.device.wire.endpoint import Listener

SECOND_NS = 10**9


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)


def collect(wire: StreamWire, budget: int = 1000, now_ns: int = 0) -> list[bytes]:
    frames: list[bytes] = []
    count = wire.receive(lambda view, _: frames.append(bytes(view)), budget, now_ns)
    assert count == len(frames)
    return frames


def read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += sock.recv(count - len(data))
    return data


def event_names(wire: StreamWire) -> list[str]:
    names = [event.name for event in wire.events]
    wire.events.clear()
    return names


@pytest.fixture
def joined() -> Iterator[tuple[StreamWire, socket.socket]]:
    """A wire, and the plain socket at its other end."""
    near, far = socket.socketpair()
    with far, StreamWire("stream", None, near) as wire:
        far.settimeout(10)
        yield wire, far


def test_send_writes_big_endian_length_then_frame(joined: tuple[StreamWire, socket.socket]) -> None:
    wire, far = joined
    assert wire.send((b"abc", bytearray(b"def"), memoryview(b"g")), None, 0)
    assert far.recv(100) == b"\0\0\0\x07abcdefg"
    assert (wire.counters.tx_frames, wire.counters.tx_bytes) == (1, 7)


def test_send_takes_more_parts_than_one_system_call(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    parts = [bytes([i % 256]) * 10 for i in range(3000)]
    assert wire.send(parts, None, 0)
    assert read_exactly(far, 4 + 30000) == framed(b"".join(parts))


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1])
def test_send_refuses_frames_no_peer_takes(
    joined: tuple[StreamWire, socket.socket], length: int
) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        joined[0].send((bytes(length),), None, 0)


def test_send_refuses_virtio_net_header(joined: tuple[StreamWire, socket.socket]) -> None:
    wire, _ = joined
    assert not wire.takes_super_frames
    with pytest.raises(ValueError, match="virtio-net"):
        wire.send((b"x" * 60,), VnetHeader(flags=1), 0)


@pytest.mark.parametrize("split", range(1, len(framed(b"first frame", b"second")) - 1))
def test_frames_survive_a_split_at_every_byte(
    joined: tuple[StreamWire, socket.socket], split: int
) -> None:
    wire, far = joined
    stream = framed(b"first frame", b"second")
    far.sendall(stream[:split])
    before = collect(wire)
    far.sendall(stream[split:])
    assert before + collect(wire) == [b"first frame", b"second"]


@given(
    sizes=st.lists(st.integers(1, 70_000), max_size=12).map(
        lambda sizes: [min(size, MAX_FRAME_BYTES) for size in sizes]
    ),
    seed=st.integers(0, 2**32),
    budget=st.integers(1, 5),
)
def test_any_chunking_and_budget_gives_the_same_frames(
    sizes: list[int], seed: int, budget: int
) -> None:
    generator = random.Random(seed)
    frames = [generator.randbytes(size) for size in sizes]
    stream = framed(*frames)
    near, far = socket.socketpair()
    with far, StreamWire("stream", None, near) as wire:
        far.setblocking(False)
        got: list[bytes] = []
        at = 0
        while len(got) < len(frames):
            chunk = stream[at : at + generator.choice([1, 3, 1000, 100_000])]
            if chunk:
                with contextlib.suppress(BlockingIOError):
                    at += far.send(chunk)
            new = collect(wire, budget)
            assert len(new) <= budget
            got += new
        assert got == frames
        assert wire.next_deadline_ns() is None


def test_frames_beyond_the_budget_are_due_at_once(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    far.sendall(framed(b"one", b"two", b"three"))
    assert collect(wire, budget=2) == [b"one", b"two"]
    # The socket is empty now, so only the deadline tells that there is more.
    assert wire.next_deadline_ns() == 0
    assert collect(wire, budget=2) == [b"three"]
    assert wire.next_deadline_ns() is None


def test_full_socket_blocks_then_every_frame_arrives_whole(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    frames = [bytes([number]) * 60_000 for number in range(200)]
    sent = 0
    while wire.send((frames[sent],), None, 0):
        sent += 1
    assert 0 < sent < len(frames)
    assert wire.wants_write
    stream = framed(*frames)
    received = bytearray()
    while sent < len(frames) or len(received) < len(stream):
        received += far.recv(65536)
        wire.flush(0)
        while sent < len(frames) and not wire.wants_write and wire.send((frames[sent],), None, 0):
            sent += 1
    assert received == stream
    assert not wire.wants_write
    assert wire.counters.tx_frames == len(frames)


def test_descriptor_signals_writability_while_blocked(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    poll = select.poll()
    descriptor = wire.fileno()
    assert descriptor is not None
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(0) == []
    while wire.send((bytes(60_000),), None, 0):
        pass
    assert poll.poll(0) == []
    while not poll.poll(0):
        far.recv(65536)
    # The blocked frame of the wire may need several turns of the event loop.
    while wire.wants_write:
        far.recv(65536)
        collect(wire)
    assert wire.send((bytes(60_000),), None, 0)


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_impossible_length_drops_the_connection_after_good_frames(
    joined: tuple[StreamWire, socket.socket], length: int
) -> None:
    wire, far = joined
    far.sendall(framed(b"good") + struct.pack(">I", length) + b"rest")
    assert collect(wire) == [b"good"]
    assert not wire.link_up
    assert event_names(wire) == ["peer-connected", "peer-frame-length", "peer-frame-length"]
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        far.sendall(b"x" * 100_000)


def test_peer_closing_in_mid_frame_is_diagnosed(joined: tuple[StreamWire, socket.socket]) -> None:
    wire, far = joined
    far.sendall(framed(b"whole") + b"\0\0\0\x09part")
    far.close()
    assert collect(wire) == [b"whole"]
    assert collect(wire) == []
    assert not wire.link_up
    assert event_names(wire)[1:] == ["peer-frame-cut-off", "peer-disconnected"]


def test_frames_before_a_failed_send_are_still_received(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    far.sendall(framed(b"last words"))
    far.close()
    assert wire.send((b"too late",), None, 0)
    assert wire.counters.tx_dropped_link_down == 1
    assert wire.next_deadline_ns() == 0
    assert collect(wire) == [b"last words"]
    assert collect(wire) == []
    assert not wire.link_up


def test_failed_send_takes_the_link_down_even_if_the_peer_stays_silent(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    far.shutdown(socket.SHUT_RD)
    assert wire.send((b"nobody reads",), None, 0)
    collect(wire)
    assert not wire.link_up


def test_peer_gone_while_output_is_pending_takes_the_link_down(
    joined: tuple[StreamWire, socket.socket],
) -> None:
    wire, far = joined
    while wire.send((bytes(60_000),), None, 0):
        pass
    far.close()
    wire.flush(0)
    assert not wire.wants_write
    collect(wire)
    assert not wire.link_up
    assert wire.send((bytes(60),), None, 0)
    assert wire.counters.tx_dropped_link_down == 1


def test_failing_accept_pauses_instead_of_spinning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "s")
    with open_unix_listener(path) as wire, open_unix(path) as peer:
        descriptor = wire.fileno()
        assert descriptor is not None

        def no_descriptors(self: Listener) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patched:
            patched.setattr(Listener, "accept", no_descriptors)
            collect(wire, now_ns=1000)
        assert event_names(wire) == ["accept-failed"]
        due = wire.next_deadline_ns()
        assert due is not None
        assert due > 1000
        # The peer still waits, yet the descriptor is quiet until the deadline.
        assert select.select([descriptor], [], [], 0)[0] == []
        collect(wire, now_ns=due - 1)
        assert not wire.link_up
        connect_pair(wire, peer, due)
        assert wire.next_deadline_ns() is None


def test_sending_without_a_peer_drops_and_counts(tmp_path: Path) -> None:
    with open_unix_listener(str(tmp_path / "s")) as wire:
        assert wire.send((b"x" * 60,), None, 0)
        assert wire.counters.tx_dropped_link_down == 1
        assert wire.counters.tx_frames == 0


def connect_pair(listener: StreamWire, connector: StreamWire, now_ns: int = 0) -> None:
    """Turn both event loops until the link is up; loopback needs a few turns for TCP."""
    for _ in range(1000):
        collect(listener, now_ns=now_ns)
        collect(connector, now_ns=now_ns)
        if listener.link_up and connector.link_up:
            return
        descriptor = connector.fileno()
        assert descriptor is not None
        select.select([descriptor], [], [], 0.01)
    raise AssertionError("no connection")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_two_wires_exchange_frames_and_reconnect(kind: str, tmp_path: Path) -> None:
    if kind == "unix":
        path = str(tmp_path / "s")
        listener = open_unix_listener(path)
        connectors = [open_unix(path), open_unix(path)]
    else:
        listener = open_tcp_listener("0")
        address = listener.listen_address
        assert isinstance(address, tuple)
        assert address[0] == "127.0.0.1"
        connectors = [open_tcp(f"{address[1]}"), open_tcp(f"127.0.0.1:{address[1]}")]
    with listener, connectors[0], connectors[1]:
        # The second one waits in the backlog until the first is gone.
        for connector in connectors:
            connect_pair(listener, connector)
            assert connector.send((b"there" * 20,), None, 0)
            assert listener.send((b"and back" * 20,), None, 0)
            descriptor = connector.fileno()
            assert descriptor is not None
            assert select.select([descriptor], [], [], 10)[0]
            assert collect(connector) == [b"and back" * 20]
            assert collect(listener) == [b"there" * 20]
            connector.close()
            descriptor = listener.fileno()
            assert descriptor is not None
            assert select.select([descriptor], [], [], 10)[0]
            collect(listener)
            kinds = [event.kind for event in listener.events]
            assert kinds == [WireEventKind.LINK_UP, WireEventKind.LINK_DOWN]
            listener.events.clear()


def test_connecting_wire_tries_again_until_a_peer_is_there(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with open_unix(path) as wire:
        assert not wire.link_up
        start = 100 * SECOND_NS
        collect(wire, now_ns=start)
        due = wire.next_deadline_ns()
        assert due is not None
        assert start < due <= start + SECOND_NS
        assert event_names(wire) == ["peer-absent"]
        with open_unix_listener(path) as listener:
            collect(wire, now_ns=due - 1)
            assert not wire.link_up
            collect(wire, now_ns=due)
            assert wire.link_up
            assert wire.next_deadline_ns() is None
            connect_pair(listener, wire, due)
        collect(wire, now_ns=due + 5)
        assert not wire.link_up
        again = wire.next_deadline_ns()
        assert again is not None
        assert again > due + 5
        with open_unix_listener(path):
            collect(wire, now_ns=again)
            assert event_names(wire) == ["peer-connected", "peer-disconnected", "peer-connected"]


def test_refused_tcp_connection_is_tried_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open_tcp(str(port)) as wire:
        descriptor = wire.fileno()
        assert descriptor is not None
        select.select([descriptor], [], [], 10)
        collect(wire, now_ns=SECOND_NS)
        assert not wire.link_up
        assert wire.next_deadline_ns() is not None
        assert event_names(wire) == ["peer-absent"]


def test_silent_peer_leaves_nothing_due(joined: tuple[StreamWire, socket.socket]) -> None:
    wire, far = joined
    far.sendall(b"\0\0")
    assert collect(wire) == []
    assert wire.next_deadline_ns() is None
    far.sendall(b"\0\x05ab")
    assert collect(wire) == []
    assert wire.next_deadline_ns() is None


def test_listener_replaces_a_stale_socket_and_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    dead.close()
    wire = open_unix_listener(str(path))
    with wire, open_unix(str(path)) as peer:
        connect_pair(wire, peer)
    assert not path.exists()
    wire.close()


def test_listener_refuses_an_address_in_use_and_leaves_it_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with open_unix_listener(path) as first:
        with pytest.raises(WireError, match="Address already in use") as caught:
            open_unix_listener(path)
        assert "another" in caught.value.fix
        with open_unix(path) as peer:
            connect_pair(first, peer)


def test_listener_does_not_remove_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(WireError):
        open_unix_listener(str(path))
    assert path.read_text() == "precious"


def test_listener_leaves_a_path_that_another_one_took_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = open_unix_listener(str(path))
    os.unlink(path)
    with open_unix_listener(str(path)):
        first.close()
        assert path.exists()


@pytest.mark.parametrize(
    "address", ["", "x", "host:", ":70000", "127.0.0.1:-1", "1.2.3.4:0", "[::1]", "no such:1"]
)
def test_wrong_tcp_address_is_a_wire_error(address: str) -> None:
    with pytest.raises(WireError) as caught:
        open_tcp(address)
    assert caught.value.fix


def test_wrong_unix_paths_are_wire_errors(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="107 bytes"):
        open_unix("x" * 108)
    with pytest.raises(WireError, match="No such file") as caught:
        open_unix_listener(str(tmp_path / "absent" / "s"))
    assert "directory" in caught.value.fix

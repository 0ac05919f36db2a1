"""Sockets: stale, living, silent, slow and rude clients."""

import contextlib
import errno
import os
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Device, DeviceMaker
from raw_client import HEADER, VERSION, Client

from tlsnic.device.vfu import Context, Library, Region, State, VfuError


def test_stale_socket_is_removed(make_device: DeviceMaker, tmp_path: Path) -> None:
    path = tmp_path / "0.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    with make_device().realize().connect() as client:
        assert client.read(0, 0, 1) == b"\0"


def test_socket_of_a_living_process_is_refused(device: Device, library: Library) -> None:
    with pytest.raises(VfuError, match=r"a living process listens.*another path") as caught:
        Context(device.path, library=library)
    assert caught.value.errno == errno.EADDRINUSE
    device.pump()
    with device.connect() as client:  # and it was not disturbed
        assert client.read(0, 0, 1) == b"\0"


def test_file_that_is_no_socket_is_left_alone(tmp_path: Path, library: Library) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(VfuError, match="is no socket"):
        Context(str(path), library=library)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "code"),
    [("/tmp/" + "x" * 200, errno.ENAMETOOLONG), ("/nowhere/at/all.sock", errno.ENOENT)],
)
def test_impossible_path_is_an_error(library: Library, path: str, code: int) -> None:
    with pytest.raises(VfuError) as caught:
        Context(path, library=library)
    assert caught.value.errno == code


def test_socket_replaced_by_another_server_is_left_alone(device: Device, library: Library) -> None:
    os.unlink(device.path)
    with Context(device.path, library=library):
        device.context.close()
        assert Path(device.path).exists()
    assert not Path(device.path).exists()


def test_silent_client_does_not_block_and_is_dropped(make_device: DeviceMaker) -> None:
    """vfu_attach_ctx would wait for its VERSION message for ever, ATTACH_NB or not."""
    device = make_device(negotiation_timeout_s=0.2).realize()
    with Client(device.path, device.pump) as silent:
        assert device.context.run() == 0
        assert device.context.state is State.NEGOTIATING
        assert select.select([device.context], [], [], 5)[0]  # the deadline wakes the loop
        device.pump()
        assert silent.socket.recv(1) == b""
    with device.connect() as client:
        assert client.read(0, 0, 1) == b"\0"


def test_version_may_come_byte_by_byte(device: Device) -> None:
    with Client(device.path, device.pump) as client:
        body = struct.pack("<HH", 0, 1) + b'{"capabilities":{}}\0'
        for byte in HEADER.pack(7, VERSION, HEADER.size + len(body), 0, 0) + body:
            client.send_raw(bytes([byte]))
            device.pump()
        reply = client.receive()
        assert (reply.message_id, reply.error) == (7, 0)
        assert client.read(0, 0, 1) == b"\0"


@pytest.mark.parametrize(
    "message",
    [
        HEADER.pack(1, VERSION, 16, 0, 0),
        HEADER.pack(1, VERSION, 15, 0, 0),
        HEADER.pack(1, VERSION, 0xFFFFFFFF, 0, 0),
        HEADER.pack(1, VERSION, 20, 0, 0) + struct.pack("<HH", 9, 0),
        HEADER.pack(1, VERSION, 20, 1, 0) + struct.pack("<HH", 0, 1),
        HEADER.pack(1, 13, 16, 0, 0),
        HEADER.pack(1, VERSION, 24, 0, 0) + struct.pack("<HH", 0, 1) + b"{]}\0",
        HEADER.pack(1, VERSION, 24, 0, 0) + struct.pack("<HH", 0, 1) + b"abcd",
        HEADER.pack(1, VERSION, 57, 0, 0)
        + struct.pack("<HH", 0, 1)
        + b'{"capabilities":{"max_msg_fds":"99"}}',
        b"GET / HTTP/1.1\r\n\r\n",
        b"short",
    ],
)
def test_version_garbage_drops_the_client_only(device: Device, message: bytes) -> None:
    with Client(device.path, device.pump) as client:
        client.send_raw(message)
        client.socket.shutdown(socket.SHUT_WR)
        device.pump()
        with contextlib.suppress(ConnectionResetError):  # what it did not read
            while client.socket.recv(4096):
                pass
    assert device.context.state is State.LISTENING
    with device.connect() as again:
        assert again.read(0, 0, 1) == b"\0"


def test_client_that_leaves_while_negotiating_is_forgotten(device: Device) -> None:
    for _ in range(3):
        Client(device.path, device.pump).close()
        device.pump()
    with Client(device.path, device.pump) as client:
        client.send(VERSION, struct.pack("<HH", 0, 1))
    device.pump()
    with device.connect() as again:
        assert again.read(0, 0, 1) == b"\0"


def test_stalled_message_neither_blocks_nor_stays(make_device: DeviceMaker) -> None:
    device = make_device(stall_timeout_s=0.2).realize()
    for dropped, part in enumerate((15, 30)):
        client = device.connect()
        with client:
            message = HEADER.pack(1, 10, 36, 0, 0) + struct.pack("<QII", 0, 0, 4) + b"abcd"
            client.send_raw(message[:part])
            device.pump()  # ends before the deadline although the socket stays readable
            assert len(device.disconnects) == dropped
            assert select.select([device.context], [], [], 5)[0]
            device.pump()
            assert client.socket.recv(1) == b""
    assert device.disconnects == ["a message stayed incomplete for 0.2 s"] * 2


def test_message_in_pieces_is_put_together(device: Device, client: Client) -> None:
    message = HEADER.pack(1, 10, 36, 0, 0) + struct.pack("<QII", 0, 0, 4) + b"abcd"
    for byte in message:
        assert device.registers.writes == []
        client.send_raw(bytes([byte]))
        device.pump()
    assert device.registers.writes == [(0, b"abcd")]
    assert client.receive().error == 0
    assert not select.select([device.context], [], [], 0)[0]


def test_client_that_reads_no_replies_is_dropped(make_device: DeviceMaker) -> None:
    device = make_device(stall_timeout_s=0.05).realize()
    with device.connect() as client:
        read = struct.pack("<QII", 0, 0, 4096)
        for _ in range(2000):
            client.send(9, read)
            device.pump()
            if device.disconnects:
                break
    assert device.disconnects == ["it takes no replies"]


def test_long_write_arrives_whole(make_device: DeviceMaker) -> None:
    device = make_device()
    size = 1 << 20
    device.registers.memory = bytearray(size)
    device.context.setup_region(Region.BAR1, size, device.registers)
    device.realize()
    # More than a socket queue holds: the writer has to run beside the server.
    code = (
        "import socket,struct,sys\n"
        "s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n"
        "s.sendall(struct.pack('<HHIIIHH',1,1,20,0,0,0,1));s.recv(4096)\n"
        "n=1<<20\n"
        "s.sendall(struct.pack('<HHIIIQII',2,10,32+n,0,0,0,1,n)+bytes(range(256))*(n//256))\n"
        "sys.exit(struct.unpack('<HHIII',s.recv(16))[4])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, device.path]) as writer:
        while writer.poll() is None:
            select.select([device.context], [], [], 0.05)
            device.pump()
    assert writer.returncode == 0
    assert device.registers.writes == [(0, bytes(range(256)) * (size // 256))]


def test_server_and_client_offer_a_twin_socket(device: Device, library: Library) -> None:
    with Client(device.path, device.pump) as client:
        reply = client.negotiate({"twin_socket": {"supported": True}})
        assert reply.error == 0
        assert (b"twin_socket" in reply.payload) == bool(reply.fds)
        assert bool(reply.fds) == (library.abi.name == "HEAD_2026")
        for fd in reply.fds:
            os.close(fd)
        assert client.read(0, 0, 1) == b"\0"


def posted(number: int, region: int, offset: int, data: bytes) -> bytes:
    payload = struct.pack("<QII", offset, region, len(data)) + data
    return HEADER.pack(number, 10, HEADER.size + len(payload), 0x10, 0) + payload


@pytest.mark.parametrize("count", [1, 113, 114, 115, 500])
def test_writes_sent_together_are_handled_one_by_one_and_in_order(
    device: Device, client: Client, count: int
) -> None:
    """One look judges many messages; how many fit into it must not matter."""
    client.send_raw(b"".join(posted(n, 0, 4 * n, n.to_bytes(4, "little")) for n in range(count)))
    handled = 0
    while select.select([device.context], [], [], 0)[0]:
        handled += device.context.run(max_messages=50)
    assert handled == count
    assert device.registers.writes == [(4 * n, n.to_bytes(4, "little")) for n in range(count)]


def test_bad_message_among_good_ones_is_refused_by_itself(device: Device, client: Client) -> None:
    good = [posted(n, 0, 8 * n, bytes([n] * 4)) for n in range(6)]
    bad = posted(99, 7, 0x42, b"A" * 12)  # a configuration write that crosses a dword
    client.send_raw(b"".join([*good[:3], bad, *good[3:]]))
    device.pump()
    assert device.registers.writes == [(8 * n, bytes([n] * 4)) for n in range(6)]
    assert client.read(7, 0x40, 4) == device.context.config[0x40:0x44].tobytes()
    assert device.disconnects == []


def test_message_cut_in_two_waits_behind_whole_ones(device: Device, client: Client) -> None:
    good = [posted(n, 0, 8 * n, bytes([n] * 4)) for n in range(4)]
    stream = b"".join(good)
    client.send_raw(stream[:-5])
    device.pump()
    assert len(device.registers.writes) == 3
    client.send_raw(stream[-5:])
    device.pump()
    assert len(device.registers.writes) == 4
    assert device.context.state is State.ATTACHED


def test_impossible_size_behind_good_messages_ends_the_connection(
    device: Device, client: Client
) -> None:
    client.send_raw(posted(1, 0, 0, b"good") + HEADER.pack(2, 10, 7, 0x10, 0) + bytes(40))
    device.pump()
    assert device.registers.writes == [(0, b"good")]
    assert device.disconnects

"""A vfio-user connection answers, refuses, gives up and hangs up at the right moments.

The far end is scripted: what it says is in the socket before the client asks, so that no thread and
no sleep is needed. The client's message ids count from 1.
"""

import errno
import os
import socket
import struct
import threading

import pytest

from tlsnic.driver.bus import (
    BusError,
    BusGoneError,
    BusProtocolError,
    BusReplyError,
    BusTimeoutError,
)
from tlsnic.driver.bus import vfio_user_wire as wire
from tlsnic.driver.bus.vfio_user_client import connect, posted_write

WRITE = posted_write(0, 8, 1, 4)


def test_a_request_carries_its_id_command_and_size_and_gives_the_replys_payload(make_pair):
    connection, far = make_pair()
    far.reply(1, wire.DEVICE_GET_INFO, b"four")
    assert connection.request(wire.DEVICE_GET_INFO, b"payload") == b"four"
    assert far.heard() == struct.pack("<HHIII", 1, 4, 23, 0, 0) + b"payload"


def test_message_ids_go_round_without_the_id_of_posted_writes(make_pair):
    connection, far = make_pair()
    connection._last_id = 0xFFFE
    far.reply(0xFFFF, wire.DEVICE_RESET)
    far.reply(1, wire.DEVICE_RESET)
    connection.request(wire.DEVICE_RESET)
    connection.request(wire.DEVICE_RESET)
    assert struct.unpack_from("<H", WRITE) == (0,)


def test_an_error_reply_raises_with_its_errno(make_pair):
    connection, far = make_pair()
    far.reply(1, wire.DMA_MAP, error=errno.EEXIST)
    with pytest.raises(BusReplyError, match="refused DMA_MAP: File exists") as caught:
        connection.request(wire.DMA_MAP)
    assert caught.value.errno == errno.EEXIST
    assert not connection.gone


def test_an_error_reply_without_errno_counts_as_invalid_argument(make_pair):
    connection, far = make_pair()
    far.sock.send(struct.pack("<HHIII", 1, 13, 16, 0x21, 0))
    with pytest.raises(BusReplyError) as caught:
        connection.request(wire.DEVICE_RESET)
    assert caught.value.errno == errno.EINVAL


def test_a_reply_to_another_command_is_a_protocol_error(make_pair):
    connection, far = make_pair()
    far.reply(1, wire.DMA_UNMAP)
    with pytest.raises(BusProtocolError, match="reply to DMA_MAP carries command 3"):
        connection.request(wire.DMA_MAP)


def test_a_reply_that_answers_nothing_is_a_protocol_error(make_pair):
    connection, far = make_pair()
    far.reply(77, wire.DMA_MAP)
    with pytest.raises(BusProtocolError, match="id 77"):
        connection.request(wire.DMA_MAP)


@pytest.mark.parametrize("size", [0, 15, 1 << 30])
def test_a_broken_header_ends_the_connection(make_pair, size):
    connection, far = make_pair()
    far.say(struct.pack("<HHIII", 1, 13, size, 1, 0))
    with pytest.raises(BusProtocolError):
        connection.request(wire.DEVICE_RESET)
    assert connection.gone
    far.heard()
    assert far.sock.recv(1) == b""  # the server is told
    with pytest.raises(BusGoneError):
        connection.request(wire.DEVICE_RESET)


def test_no_answer_is_a_timeout_and_the_late_reply_is_dropped(make_pair):
    connection, far = make_pair(timeout_s=0.02)
    with pytest.raises(BusTimeoutError, match=r"no answer to DEVICE_RESET within 0\.02 s"):
        connection.request(wire.DEVICE_RESET)
    assert not connection.gone
    far.reply(1, wire.DEVICE_RESET)
    far.reply(2, wire.DEVICE_GET_INFO, b"now")
    assert connection.request(wire.DEVICE_GET_INFO) == b"now"


def test_the_id_of_an_unanswered_request_is_not_used_again(make_pair):
    connection, far = make_pair(timeout_s=0.02)
    with pytest.raises(BusTimeoutError):
        connection.request(wire.DEVICE_RESET)
    connection._last_id = 0xFFFF
    far.reply(2, wire.DEVICE_RESET)
    connection.request(wire.DEVICE_RESET)  # 2, because 1 may still be answered


def test_the_deadline_holds_for_a_reply_that_trickles(make_pair):
    connection, far = make_pair(timeout_s=0.05)
    reply = struct.pack("<HHIII", 1, 13, 500, 1, 0) + bytes(484)  # would take 10 s
    stop = threading.Event()
    unsent = list(reply)

    def trickle():
        while unsent and not stop.wait(0.02):
            far.sock.send(bytes([unsent.pop(0)]))

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(BusTimeoutError):
        connection.request(wire.DEVICE_RESET)
    stop.set()
    thread.join()
    assert unsent


def test_a_reply_cut_into_pieces_is_put_together(make_pair):
    connection, far = make_pair(socket.SOCK_SEQPACKET)  # one recv gives one piece
    reply = struct.pack("<HHIII", 1, 4, 20, 1, 0) + b"data"
    for start in range(0, len(reply), 3):
        far.say(reply[start : start + 3])
    assert connection.request(wire.DEVICE_GET_INFO) == b"data"


@pytest.mark.parametrize("sent", range(19))
def test_a_hangup_anywhere_in_a_reply_is_noticed(make_pair, sent):
    connection, far = make_pair()
    far.say(struct.pack("<HHIII", 1, 4, 20, 1, 0)[:sent] + b"dat"[: max(0, sent - 16)])
    far.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(BusGoneError, match="instead of answering DEVICE_GET_INFO"):
        connection.request(wire.DEVICE_GET_INFO)
    assert connection.gone


def test_a_server_that_died_is_noticed_when_sending(make_pair):
    connection, far = make_pair()
    far.hang_up()
    connection.post(WRITE)
    assert connection.gone
    connection.post(WRITE)
    with pytest.raises(BusGoneError):
        connection.request(wire.DEVICE_RESET)


@pytest.mark.parametrize("command", [wire.DMA_READ, wire.DMA_WRITE])
def test_a_request_of_the_server_is_refused_before_our_reply_comes(make_pair, command):
    connection, far = make_pair()
    far.ask(500, command, struct.pack("<QQ", 0x1000, 4))
    far.reply(1, wire.DEVICE_RESET)
    connection.request(wire.DEVICE_RESET)
    refusal = struct.pack("<HHIII", 500, command, 16, 0x21, errno.EOPNOTSUPP)
    assert far.heard() == struct.pack("<HHIII", 1, 13, 16, 0, 0) + refusal


def test_a_server_request_with_no_reply_gets_none(make_pair):
    connection, far = make_pair()
    far.ask(500, wire.DMA_WRITE, bytes(20), flags=wire.FLAG_NO_REPLY)
    assert connection.service()
    assert far.heard() == b""


def test_a_server_request_is_refused_while_nothing_is_asked(make_pair):
    connection, far = make_pair()
    far.ask(9, wire.DMA_READ, bytes(16))
    assert connection.service()
    assert far.heard() == struct.pack("<HHIII", 9, 11, 16, 0x21, errno.EOPNOTSUPP)
    assert connection.service()  # nothing more to do
    far.hang_up()
    assert not connection.service()
    assert connection.gone


def test_posted_writes_go_out_one_by_one(make_pair):
    connection, far = make_pair(socket.SOCK_SEQPACKET)
    connection.post(WRITE)
    connection.post(WRITE)
    assert [far.sock.recv(1000), far.sock.recv(1000)] == [WRITE, WRITE]


def test_held_writes_go_out_together_at_the_outermost_release(make_pair):
    connection, far = make_pair(socket.SOCK_SEQPACKET)
    connection.hold()
    connection.post(WRITE)
    connection.hold()
    connection.post(WRITE)
    connection.release()
    assert far.heard() == b""
    connection.release()
    assert far.sock.recv(1000) == 2 * WRITE
    connection.post(WRITE)
    assert far.sock.recv(1000) == WRITE


def test_a_request_sends_the_held_writes_first(make_pair):
    connection, far = make_pair()
    far.reply(1, wire.DEVICE_RESET)
    connection.hold()
    connection.post(WRITE)
    connection.request(wire.DEVICE_RESET)
    assert far.heard() == WRITE + struct.pack("<HHIII", 1, 13, 16, 0, 0)
    connection.release()
    assert far.heard() == b""


def test_a_big_batch_goes_out_in_whole_messages_of_bounded_size(make_pair):
    connection, far = make_pair(socket.SOCK_SEQPACKET)
    connection.hold()
    for number in range(1000):
        connection.post(posted_write(0, 0, number, 4))
    connection.release()
    sizes, data = [], b""
    while len(data) < 36_000:
        piece = far.sock.recv(1 << 20)
        sizes.append(len(piece))
        data += piece
    assert all(size % 36 == 0 and size <= 16384 for size in sizes)
    assert [struct.unpack_from("<I", data, at + 32)[0] for at in range(0, 36_000, 36)] == list(
        range(1000)
    )


def test_a_server_that_reads_nothing_is_a_timeout_not_a_hang(make_pair):
    connection, _ = make_pair(timeout_s=0.02)
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with pytest.raises(BusTimeoutError, match="has read nothing"):  # noqa: PT012 - at some point
        for _ in range(10_000):
            connection.post(WRITE)
    with pytest.raises(BusTimeoutError, match="has read nothing"):
        connection.request(wire.DEVICE_RESET)
    assert not connection.gone


def test_descriptors_are_received_where_they_are_expected(make_pair):
    connection, far = make_pair()
    read_end, write_end = os.pipe()
    far.reply(50, wire.DEVICE_RESET)  # an abandoned one, without descriptors, comes first
    connection._abandoned.add(50)
    far.say(struct.pack("<HHIII", 1, 5, 20, 1, 0) + b"info", (read_end,))
    reply = connection.request_fds(wire.DEVICE_GET_REGION_INFO, b"")
    assert (reply.payload, len(reply.fds)) == (b"info", 1)
    os.write(write_end, b"x")
    assert os.read(reply.fds[0], 1) == b"x"
    assert not os.get_inheritable(reply.fds[0])
    reply.close_fds()
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize("case", ["unexpected", "error", "wrong command", "late", "cut short"])
def test_descriptors_nobody_takes_are_closed(make_pair, case):
    connection, far = make_pair(timeout_s=0.02)
    read_end, write_end = os.pipe()

    def reply(msg_id, command, flags=1, size=16):
        far.say(struct.pack("<HHIII", msg_id, command, size, flags, 0), (read_end, read_end))

    with pytest.raises(BusError):  # noqa: PT012 - each case fails in its own way
        if case == "unexpected":
            reply(1, wire.DMA_MAP)
            connection.request(wire.DMA_MAP)
            raise BusError("the reply was fine")
        if case == "error":
            reply(1, wire.DEVICE_GET_REGION_INFO, flags=0x21)
        elif case == "wrong command":
            reply(1, wire.DMA_MAP)
        elif case == "late":
            connection._abandoned.add(7)
            reply(7, wire.DMA_MAP)
        else:
            reply(1, wire.DEVICE_GET_REGION_INFO, size=99)
        connection.request_fds(wire.DEVICE_GET_REGION_INFO, b"")
    connection.close()
    os.close(read_end)
    with pytest.raises(BrokenPipeError):  # no copy of the reading end is left anywhere
        os.write(write_end, b"x")
    os.close(write_end)


def test_descriptors_are_sent(make_pair):
    connection, far = make_pair()
    read_end, write_end = os.pipe()
    far.reply(1, wire.DEVICE_SET_IRQS)
    connection.request(wire.DEVICE_SET_IRQS, b"irqs", (write_end,))
    os.close(write_end)
    data, fds, _, _ = socket.recv_fds(far.sock, 1000, 4)
    assert data[16:] == b"irqs"
    os.write(fds[0], b"y")
    assert os.read(read_end, 1) == b"y"
    for fd in (*fds, read_end):
        os.close(fd)


def test_negotiation_learns_the_servers_limits(make_pair):
    connection, far = make_pair()
    far.reply(1, wire.VERSION, b'\0\0\0\0{"capabilities":{"max_msg_fds":8}}\0')
    connection.negotiate()
    assert connection.limits.max_fds == 8


def test_negotiation_says_what_a_silent_or_hostile_server_means(make_pair):
    connection, far = make_pair(timeout_s=0.02)
    with pytest.raises(BusTimeoutError, match="detach that one first"):
        connection.negotiate()
    far.hang_up()
    connection, far = make_pair()
    far.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(BusGoneError, match="server's log"):
        connection.negotiate()


def test_connecting_to_nothing_says_so_and_how_to_fix_it(tmp_path):
    path = str(tmp_path / "s")
    with pytest.raises(BusError, match=r"no such socket \(fix: start the device first\)"):
        connect(path, 1)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    with pytest.raises(BusError, match=f"nobody listens.*rm {path}"):
        connect(path, 1)
    with pytest.raises(BusError, match="too long"):
        connect(path + "x" * 200, 1)


def test_connecting_to_a_busy_server_gives_up_at_the_deadline(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with connect(path, 1), pytest.raises(BusError, match="one at a time"):
            connect(path, 0.02)

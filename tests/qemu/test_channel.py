"""The control channel: calls both ways, deadlines, errors, and what closes it."""

import os
import socket
import threading

import pytest

from tlsnic.qemu.channel import CallTimeoutError, Channel, ChannelClosedError, RemoteError
from tlsnic.qemu.framing import encode


@pytest.fixture
def pair():
    """`make(host_handlers, guest_handlers, serve=True)` gives (guest, host), the host serving."""
    opened: list[Channel] = []
    threads: list[threading.Thread] = []

    def make(host_handlers=None, guest_handlers=None, serve=True):
        left, right = socket.socketpair()
        guest = Channel.over_socket(left, guest_handlers)
        host = Channel.over_socket(right, host_handlers)
        opened.extend((guest, host))
        if serve:
            thread = threading.Thread(target=host.serve)
            thread.start()
            threads.append(thread)
        return guest, host

    yield make
    for channel in opened:
        channel.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_call_returns_the_handlers_result_with_bytes_intact(pair):
    guest, _ = pair({"peer.echo": lambda frames, n: {"frames": frames[::-1], "n": n + 1}})
    frames = [bytes(range(256)), b""]
    result = guest.call("peer.echo", {"frames": frames, "n": 1})
    assert result == {"frames": frames[::-1], "n": 2}


def test_a_handlers_exception_comes_back_with_its_kind(pair):
    def fail():
        raise LookupError("no such port")

    guest, _ = pair({"fail": fail})
    with pytest.raises(RemoteError, match="no such port") as caught:
        guest.call("fail")
    assert caught.value.kind == "LookupError"


def test_unknown_methods_and_wrong_parameters_are_errors(pair):
    guest, _ = pair({"one": lambda a: a})
    with pytest.raises(RemoteError) as unknown:
        guest.call("two")
    with pytest.raises(RemoteError) as wrong:
        guest.call("one", {"b": 1})
    assert (unknown.value.code, wrong.value.kind) == (-32601, "TypeError")


def test_a_result_that_cannot_be_sent_is_an_error_not_a_hang(pair):
    guest, _ = pair({"bad": object})
    with pytest.raises(RemoteError, match="cannot be sent"):
        guest.call("bad", timeout_s=60)


def test_a_call_without_an_answer_ends_at_its_deadline_and_the_late_answer_is_dropped(pair):
    asked, release = threading.Event(), threading.Event()

    def slow():
        asked.set()
        release.wait(60)
        return "late"

    guest, _ = pair({"slow": slow, "quick": lambda: "now"})
    with pytest.raises(CallTimeoutError):
        guest.call("slow", timeout_s=0.05)
    assert asked.wait(60)
    release.set()
    assert guest.call("quick", timeout_s=60) == "now"
    assert guest.dropped == 1


def test_handlers_may_call_back_while_the_caller_waits(pair):
    channels = []

    def outer(depth):
        return [depth, channels[1].call("guest.inner", {"depth": depth})]

    guest, host = pair({"outer": outer}, {"guest.inner": lambda depth: depth * 10})
    channels.extend((guest, host))
    assert guest.call("outer", {"depth": 4}, timeout_s=60) == [4, 40]


def test_both_ends_call_at_once_from_several_threads(pair):
    guest, host = pair({"add": lambda a, b: a + b}, {"mul": lambda a, b: a * b})
    server = threading.Thread(target=guest.serve)
    server.start()
    wrong: list[tuple[int, object]] = []

    def work(channel, method, expected):
        for n in range(30):
            result = channel.call(method, {"a": n, "b": 3}, timeout_s=60)
            if result != expected(n):
                wrong.append((n, result))

    threads = [
        threading.Thread(target=work, args=(guest, "add", lambda n: n + 3)),
        threading.Thread(target=work, args=(guest, "add", lambda n: n + 3)),
        threading.Thread(target=work, args=(host, "mul", lambda n: n * 3)),
        threading.Thread(target=work, args=(host, "mul", lambda n: n * 3)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    guest.close()
    server.join(60)
    assert not any(thread.is_alive() for thread in [*threads, server])
    assert wrong == []


def test_two_ends_that_both_send_more_than_the_socket_holds_do_not_block_each_other(pair):
    big = b"\xa5" * (2 << 20)
    seen: list[str] = []
    both = threading.Event()

    def take(name, data):
        if data == big:
            seen.append(name)
        if len(seen) == 2:
            both.set()

    guest, host = pair(
        {"take": lambda data: take("host", data)},
        {"take": lambda data: take("guest", data)},
        serve=False,
    )

    def send_then_serve(channel):
        channel.notify("take", {"data": big}, timeout_s=60)
        channel.serve()

    threads = [threading.Thread(target=send_then_serve, args=(end,)) for end in (guest, host)]
    for thread in threads:
        thread.start()
    assert both.wait(60)
    guest.close()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == ["guest", "host"]


def test_sending_to_an_end_that_does_not_read_stops_at_the_deadline(pair):
    guest, _ = pair(serve=False)
    with pytest.raises(CallTimeoutError, match="send"):
        guest.notify("take", {"data": b"x" * (4 << 20)}, timeout_s=0.1)


def test_the_other_end_going_away_ends_calls_and_serving(pair):
    guest, host = pair(serve=False)
    host.close()
    with pytest.raises(ChannelClosedError):
        guest.call("anything", timeout_s=60)
    guest.serve()


def test_close_from_another_thread_wakes_a_waiting_call(pair):
    asked = threading.Event()
    guest, host = pair(serve=False)
    outcome: list[BaseException] = []

    def wait():
        try:
            guest.call("never", timeout_s=30)
        except ChannelClosedError as error:
            outcome.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    server = threading.Thread(target=host.serve)
    host._handlers["never"] = lambda: asked.wait(60)
    server.start()
    guest.close()
    asked.set()
    waiter.join(60)
    server.join(60)
    assert not waiter.is_alive()
    assert not server.is_alive()
    assert len(outcome) == 1


def test_noise_on_the_line_is_counted_and_does_no_harm():
    left, right = socket.socketpair()
    with Channel.over_socket(left, {"ping": lambda: "pong"}) as channel, right:
        right.sendall(
            b"kernel noise\n"
            + encode([1, 2])
            + encode({"id": 77, "result": "for nobody"})
            + encode({"jsonrpc": "2.0", "id": 5, "method": 3})
            + encode({"jsonrpc": "2.0", "id": 6, "method": "ping", "params": [1]})
            + encode({"jsonrpc": "2.0", "id": 7, "method": "ping"})
        )
        right.shutdown(socket.SHUT_WR)
        channel.serve()
        replies = right.recv(65536)
        assert channel.dropped == len(b"kernel noise\n") + 2
    assert replies.count(b"-32600") == 1
    assert replies.count(b"-32602") == 1
    assert b'"id":7,"result":"pong"' in replies


def test_a_failing_notification_is_said_on_standard_error(pair, capfd):
    done = threading.Event()
    guest, _ = pair({"done": done.set})
    guest.notify("nobody.listens", {"x": 1})
    guest.notify("done")
    assert done.wait(60)
    assert "nobody.listens" in capfd.readouterr().err


def test_opens_a_listening_unix_socket_by_path(tmp_path):
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with Channel.open(path, {"who": lambda: "guest"}) as guest:
            served, _ = listener.accept()
            server = threading.Thread(target=guest.serve)
            server.start()
            with Channel.over_socket(served) as host:
                assert host.call("who", timeout_s=60) == "guest"
        server.join(60)
        assert not server.is_alive()


def test_opening_a_missing_port_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        Channel.open(str(tmp_path / "tlsnic.control"))


def test_closing_twice_is_harmless_and_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    left, right = socket.socketpair()
    channel = Channel.over_socket(left)
    right.close()
    channel.close()
    channel.close()
    assert len(os.listdir("/proc/self/fd")) == before

"""The control socket: who may, what clients may send, slow ones, many, and its end."""

import json
import os
import select
import socket
import stat

import pytest
from control_rig import inspector_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlsnic.abi import registers as r
from tlsnic.device import vfu
from tlsnic.device.control import server as server_module
from tlsnic.device.control.protocol import MAX_LINE_BYTES
from tlsnic.device.control.server import (
    HIGH_WATER_BYTES,
    MAX_CLIENTS,
    READ_BYTES,
    STUCK_NS,
    ControlServer,
)


class Loop:
    """A control server on a card of the bench, driven by hand."""

    def __init__(self, rig, path):
        self.rig = rig
        self.path = str(path)
        self.now_ns = 1_000_000
        self.server = ControlServer(self.path, inspector_of(rig), lambda: self.now_ns)
        self.clients = []

    def turn(self, turns=4):
        for _ in range(turns):
            self.server.turn(self.now_ns)

    def run(self):
        """Until nothing is left to do."""
        while self.server.busy or select.select([self.server], (), (), 0)[0]:
            self.server.turn(self.now_ns)

    def connect(self):
        client = Client(self)
        self.clients.append(client)
        self.run()
        return client

    def close(self):
        for client in self.clients:
            client.socket.close()
        self.server.close()


class Client:
    """One that reads hello when it is asked."""

    def __init__(self, loop):
        self.loop = loop
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(loop.path)
        self.socket.setblocking(False)
        self.data = b""

    def send(self, data):
        for at in range(0, len(data), 1 << 15):
            self.socket.sendall(data[at : at + (1 << 15)])
            self.loop.run()

    def read(self):
        """New lines; the last one is None when the connection has ended."""
        ended = False
        try:
            while data := self.socket.recv(1 << 20):
                self.data += data
                self.loop.run()
            ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            ended = True
        *lines, self.data = self.data.split(b"\n")
        return [json.loads(line) for line in lines] + [None] * ended

    def try_to_send(self, data):
        """Whether some of it could be sent."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def read_now(self):
        """Lines that are there already."""
        return self.socket.recv(1 << 20).splitlines()

    def call(self, method, **params):
        self.send(json.dumps({"id": 7, "method": method, "params": params}).encode() + b"\n")
        (reply,) = self.read()
        assert reply["id"] == 7
        return reply

    def errors(self):
        """Names of the errors in new lines, None for an end."""
        return [line and line["error"]["name"] for line in self.read()]


@pytest.fixture
def loop(rig, tmp_path):
    loop = Loop(rig, tmp_path / "control")
    yield loop
    loop.close()


@pytest.fixture
def client(loop):
    client = loop.connect()
    client.read()
    return client


# The socket


def test_only_the_owner_may_open_it_whatever_umask_says(rig, tmp_path):
    old = os.umask(0)
    try:
        loop = Loop(rig, tmp_path / "control")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(loop.path).st_mode) == 0o600
    loop.close()
    assert not os.path.exists(loop.path)


def test_a_live_socket_is_refused_and_a_stale_one_replaced(rig, loop, tmp_path):
    with pytest.raises(vfu.VfuError, match="living process listens"):
        Loop(rig, loop.path)
    assert loop.connect().read()[0]["hello"] == "tlsnic-control"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    Loop(rig, tmp_path / "stale").close()


def test_somebody_elses_file_stays(rig, tmp_path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(vfu.VfuError, match="no socket"):
        Loop(rig, path)
    assert path.read_text() == "mine"


def test_close_leaves_a_socket_that_is_not_its_own(rig, tmp_path):
    loop = Loop(rig, tmp_path / "control")
    os.unlink(loop.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(loop.path)
        loop.close()
        assert os.path.exists(loop.path)


def test_another_user_is_refused(loop, monkeypatch):
    monkeypatch.setattr(server_module.os, "geteuid", lambda: 4711)
    monkeypatch.setattr(server_module, "_ROOT", 4712)
    assert loop.connect().errors() == ["NOT_ALLOWED", None]
    assert loop.server.clients == 0


# Requests


def test_hello_and_a_request(loop):
    client = loop.connect()
    (hello,) = client.read()
    assert (hello["version"], hello["pid"]) == (1, os.getpid())
    assert [card["mac"] for card in hello["cards"]] == ["02:74:6c:73:00:01"]
    assert client.call("counters.read")["result"]["counters"]["TX_PACKETS"] == 0


def test_answers_come_in_order_and_once(client):
    lines = [{"id": n, "method": "registers.values", "params": {"all": True}} for n in range(50)]
    client.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert [reply["id"] for reply in client.read()] == list(range(50))


def test_a_request_may_come_in_pieces(client):
    for byte in b'{"id":"\xc3\xa4","method":"device.info"}\n':
        client.send(bytes([byte]))
    (reply,) = client.read()
    assert reply["id"] == "ä"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"", "BAD_JSON"),
        (b"reset", "BAD_JSON"),
        (b"\xff\xfe", "BAD_JSON"),
        (b"[" * 200_000, "BAD_JSON"),
        (b"9" * 10_000, "BAD_JSON"),
        (b"[]", "BAD_REQUEST"),
        (b"{}", "BAD_REQUEST"),
        (b'{"method": 7}', "BAD_REQUEST"),
        (b'{"method": "device.info", "params": []}', "BAD_REQUEST"),
        (b'{"method": "device.info", "id": {}}', "BAD_REQUEST"),
        (b'{"method": "device.info", "id": 1.5}', "BAD_REQUEST"),
        (b'{"method": "device.info", "id": NaN}', "BAD_REQUEST"),
        (b'{"method": "device.info", "id": true}', "BAD_REQUEST"),
        (b'{"method": "device.info", "id": 1' + b"0" * 50 + b"}", "BAD_REQUEST"),
        (b'{"method": "\\ud800"}', "UNKNOWN_METHOD"),
        (b'{"method": "device.info", "params": {"\\ud800": 1}}', "BAD_PARAMETER"),
        (b'{"method": "device.info", "params": {"card": 1e400}}', "BAD_PARAMETER"),
        (b'{"method": "registers.read", "params": {"offset": "\xc3\xa4"}}', "BAD_PARAMETER"),
    ],
)
def test_what_is_no_request_gets_a_named_error_and_the_connection_stays(client, line, name):
    client.send(line + b"\n")
    assert client.errors() == [name]
    assert "result" in client.call("device.info")


def test_a_line_that_is_too_long_ends_the_connection(loop, client):
    client.send(b" " * MAX_LINE_BYTES)
    assert client.read() == []
    with pytest.raises(BrokenPipeError):
        client.send(b" " * READ_BYTES * 2)
    assert client.errors() == ["LINE_TOO_LONG", None]
    assert loop.server.clients == 0


def test_a_line_of_the_greatest_length_is_read(client):
    body = b'{"id": 7, "method": "device.info"}'
    line = body + b" " * (MAX_LINE_BYTES - len(body)) + b"\n"
    client.send(line)
    (reply,) = client.read()
    assert "result" in reply


def test_a_fault_of_a_method_is_an_error(loop, client, monkeypatch):
    monkeypatch.setattr(type(loop.rig.nic), "peek", None)
    assert client.call("registers.values", all=True)["error"]["name"] == "INTERNAL"
    assert "result" in client.call("device.info")


# Clients coming and going


def test_fifty_clients_at_once(loop):
    clients = [loop.connect() for _ in range(50)]
    for number, client in enumerate(clients):
        client.socket.sendall(json.dumps({"id": number, "method": "queues.list"}).encode() + b"\n")
    loop.run()
    for number, client in enumerate(clients):
        hello, reply = client.read()
        assert hello["hello"] == "tlsnic-control"
        assert reply["id"] == number
        assert len(reply["result"]) == 34


def test_more_than_the_most_are_refused(loop):
    clients = [loop.connect() for _ in range(MAX_CLIENTS)]
    assert loop.connect().errors() == ["TOO_MANY_CLIENTS", None]
    clients[0].socket.close()
    loop.run()
    assert loop.connect().read()[0]["hello"] == "tlsnic-control"


def test_work_of_one_turn_is_bounded(loop, client):
    """With a clock that runs: one turn carries out some requests, and leaves the rest."""
    times = iter(range(1_000_000, 1_000_000_000, 400_000))
    loop.server._clock_ns = lambda: next(times)
    client.socket.sendall(b'{"method": "device.info"}\n' * 100)
    loop.server.turn(1_000_000)
    assert loop.server.busy
    assert 0 < len(client.read_now()) < 10
    loop.server._clock_ns = lambda: loop.now_ns
    loop.run()
    assert not loop.server.busy


def test_a_client_that_is_gone_in_the_middle(loop, client):
    client.socket.sendall(b'{"method": "registers.values", "params": {"all": true}}\n' * 40)
    loop.turn(1)
    client.socket.close()
    loop.run()
    assert loop.server.clients == 0
    assert "result" in second_call(loop)


def test_a_client_that_says_no_more_is_answered(loop, client):
    client.socket.sendall(b'{"id": 7, "method": "device.info"}\n')
    client.socket.shutdown(socket.SHUT_WR)
    loop.run()
    reply, end = client.read()
    assert reply["id"] == 7
    assert end is None


def second_call(loop):
    client = loop.connect()
    client.read()
    return client.call("device.info")


def test_a_slow_reader_is_not_read_from_and_then_dropped(loop, client):
    line = b'{"method": "registers.values", "params": {"all": true}}\n'
    while client.try_to_send(line * 100):
        loop.run()
    (state,) = loop.server._clients.values()
    assert HIGH_WATER_BYTES < state.waiting_bytes < HIGH_WATER_BYTES + 65536
    assert len(state.incoming) < 2 * READ_BYTES
    assert "result" in second_call(loop)
    assert loop.server.deadline_ns == loop.now_ns + STUCK_NS + 1
    loop.now_ns = loop.server.deadline_ns
    loop.turn(1)
    assert loop.server.clients == 1  # the second one
    assert loop.server.deadline_ns is None


def test_a_slow_reader_that_goes_on_gets_everything(loop, client):
    line = b'{"method": "registers.values", "params": {"all": true}}\n'
    for _ in range(10):
        client.socket.send(line * 10)
        loop.run()
    loop.now_ns += STUCK_NS // 2
    replies = client.read()
    assert len(replies) == 100
    assert all("result" in reply for reply in replies)


def test_no_descriptor_left(loop, client, monkeypatch):
    real = loop.server._listener.socket

    class Full:
        def __init__(self):
            self.refusals = 1

        def accept(self):
            if self.refusals:
                self.refusals -= 1
                raise OSError(24, "Too many open files")
            return real.accept()

        def close(self):
            real.close()

    loop.server._listener.socket = Full()
    assert loop.connect().read() == [None]
    assert "result" in client.call("device.info")


def test_events_are_left_out_for_those_who_do_not_read(loop, client):
    (state,) = loop.server._clients.values()
    taken = sum(state.send_event({"event": "x", "data": "y" * 10_000}) for _ in range(500))
    loop.run()
    assert 100 <= taken < 200
    assert len(client.read()) == taken
    assert state.send_event({"event": "z"})
    loop.run()
    assert client.read() == [{"event": "z"}]
    gone = []
    state.when_closed(lambda: gone.append(1))
    client.socket.close()
    loop.run()
    assert gone == [1]
    assert not state.send_event({"event": "z"})


def test_an_idle_client_wakes_nobody(loop, client):
    assert select.select([loop.server], (), (), 0)[0] == []
    assert not loop.server.busy
    assert loop.server.deadline_ns is None


# Anything at all


METHOD = st.sampled_from(
    ["device.info", "registers.values", "queues.show", "flows.show", "flows.list", "", "x"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["card", "bar", "offset", "items", "all", "kind", "number", "first", "count", "handle", "x"]
)
REQUEST = st.fixed_dictionaries(
    {"method": METHOD | VALUE, "params": st.dictionaries(NAMES, VALUE, max_size=4) | VALUE},
    optional={"id": VALUE},
).map(lambda value: json.dumps(value).encode())
BYTES = st.binary(max_size=300) | REQUEST | REQUEST.map(lambda line: line[:-2])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BYTES, max_size=6))
def test_any_bytes_get_errors_or_answers_and_change_nothing(loop, lines):
    def image():
        return [
            loop.rig.nic.peek(bar, offset, 4)
            for bar, top in ((0, r.BAR0.size_bytes), (2, r.BAR2.size_bytes))
            for offset in range(0, top, 64)
        ]

    before = image()
    client = loop.connect()
    client.read()
    sent = b"".join(line + b"\n" for line in lines)
    client.send(sent)
    replies = client.read()
    assert len(replies) == sent.count(b"\n")
    for reply in replies:
        assert set(reply) in ({"id", "result"}, {"id", "error"})
        assert "error" not in reply or reply["error"]["name"] != "INTERNAL"
    assert image() == before
    client.socket.close()
    loop.run()
    assert loop.server.clients == 0

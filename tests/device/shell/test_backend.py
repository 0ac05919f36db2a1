"""The control socket's client end, and finding devices."""

import json
import os
import socket
import threading

import pytest

from tlsnic.device.shell import find
from tlsnic.device.shell.backend import LocalBackend, SocketBackend
from tlsnic.device.shell.errors import GoneError, ShellError

HELLO = {"hello": "tlsnic-control", "version": 1, "pid": 7, "cards": [{"card": 0, "wire": "null"}]}


class Peer:
    """A control socket that answers with what `script` makes of each request."""

    def __init__(self, path, script, hello=HELLO):
        self.path = str(path)
        self.requests = []
        self._script = script
        self._hello = hello if isinstance(hello, bytes) else json.dumps(hello).encode() + b"\n"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._serve(connection)

    def _serve(self, connection):
        connection.sendall(self._hello)
        try:
            for line in connection.makefile("rb"):
                request = json.loads(line)
                self.requests.append(request)
                answer = self._script(request)
                if answer is None:
                    return
                connection.sendall(answer)
        except OSError:
            return

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def peer(tmp_path):
    peers = []

    def make(script=lambda request: result(request, {}), **options):
        peers.append(Peer(tmp_path / "nic.sock.control", script, **options))
        return peers[-1]

    yield make
    for each in peers:
        each.close()


@pytest.fixture
def connect():
    backends = []

    def make(path, **options):
        backends.append(SocketBackend(path, **options))
        return backends[-1]

    yield make
    for each in backends:
        each.close()


def result(request, value):
    return json.dumps({"id": request["id"], "result": value}).encode() + b"\n"


def test_call_and_answer(peer, connect):
    made = peer(lambda request: result(request, {"method": request["method"], **request["params"]}))
    backend = connect(made.path)
    assert backend.cards == HELLO["cards"]
    assert backend.name == made.path
    assert backend.call("flows.list", {"card": 1}) == {"method": "flows.list", "card": 1}
    assert [request["id"] for request in made.requests] == [1]


def test_refusal_is_an_error_with_its_fix(peer, connect):
    error = {"name": "NOT_FOUND", "message": "flow 3 was never made", "fix": "see flows.list"}
    made = peer(lambda request: json.dumps({"id": request["id"], "error": error}).encode() + b"\n")
    with pytest.raises(ShellError) as caught:
        connect(made.path).call("flows.show", {})
    assert (caught.value.name, caught.value.message, caught.value.fix) == tuple(error.values())


def test_events_between_answers_are_kept(peer, connect):
    event = b'{"event": "trace", "records": [], "lost": 0}\n'
    made = peer(lambda request: event + result(request, 1) + event + event[:10])
    backend = connect(made.path)
    assert backend.call("trace.start", {}) == 1
    assert len(backend.events(0)) >= 1
    assert backend.events(0.01) in ([], [json.loads(event)])


def test_answers_of_other_questions_are_passed_over(peer, connect):
    made = peer(lambda request: b'{"id": 999, "result": "late"}\n' + result(request, "mine"))
    assert connect(made.path).call("x", {}) == "mine"


def test_answer_in_many_pieces(peer, connect):
    made = peer(lambda request: result(request, "x" * 500_000))
    assert len(connect(made.path).call("x", {})) == 500_000


def test_device_that_goes_away(peer, connect):
    backend = connect(peer(lambda _request: None).path)
    with pytest.raises(GoneError, match="closed the connection"):
        backend.call("device.info", {})


def test_device_that_does_not_answer(peer, connect):
    made = peer(lambda _request: b'{"event": "trace"}\n')
    backend = connect(made.path, timeout_s=0.2)
    with pytest.raises(GoneError, match="has not answered"):
        backend.call("device.info", {})


def test_call_after_the_connection_was_lost_makes_a_new_one(peer, connect):
    made = peer(lambda request: None if len(made.requests) == 1 else result(request, "again"))
    backend = connect(made.path)
    with pytest.raises(GoneError):
        backend.call("device.info", {})
    assert backend.call("device.info", {}) == "again"


def test_interrupted_call_leaves_nothing_half_read(peer, connect, monkeypatch):
    made = peer(lambda request: result(request, request["method"]))
    backend = connect(made.path)
    real = backend._next_document
    monkeypatch.setattr(
        backend, "_next_document", lambda _deadline: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        backend.call("first", {})
    monkeypatch.setattr(backend, "_next_document", real)
    assert backend.call("second", {}) == "second"


@pytest.mark.parametrize(
    ("hello", "part"),
    [
        (b'{"hello": "something-else"}\n', "not a control socket"),
        (b"[]\n", "not a control socket"),
        (b"\xff\xfe\n", "does not speak JSON"),
        ({**HELLO, "version": 2}, "speaks version 2"),
    ],
)
def test_what_is_no_control_socket(peer, connect, hello, part):
    with pytest.raises(GoneError, match=part):
        connect(peer(hello=hello).path)


def test_paths_without_a_listener(tmp_path, connect):
    with pytest.raises(GoneError, match="there is no control socket"):
        connect(tmp_path / "missing.control")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale.control"))
    stale.close()
    with pytest.raises(GoneError, match="cannot reach"):
        connect(tmp_path / "stale.control")


def test_local_backend_turns_the_inspectors_errors_into_ours():
    class Refusal(Exception):
        name, message, fix = "BAD_PARAMETER", "no", "yes"

    class Inspector:
        def call(self, method, params):
            if method == "bad":
                raise Refusal
            if method == "broken":
                raise ZeroDivisionError
            return [method, params]

    backend = LocalBackend(Inspector(), [{"card": 0}])
    assert backend.call("good", {"card": 0}) == ["good", {"card": 0}]
    assert backend.events(1) == []
    with pytest.raises(ShellError, match="no"):
        backend.call("bad", {})
    with pytest.raises(ZeroDivisionError):
        backend.call("broken", {})
    backend.close()


TABLE = """Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 26 /run/a.sock.control
0000000000000000: 00000002 00000000 00010000 0001 01 27 /run/a b.control
0000000000000000: 00000003 00000000 00000000 0001 03 28 /run/connected.control
0000000000000000: 00000002 00000000 00010000 0001 01 29 /run/other.sock
0000000000000000: 00000002 00000000 00010000 0001 01 30 @abstract.control
0000000000000000: 00000003 00000000 00000000 0001 03 31
"""


def test_listening_control_sockets_of_the_kernels_table():
    assert find.listening(TABLE) == ["/run/a b.control", "/run/a.sock.control"]


def table_of(*paths):
    rows = [f"0: 00000002 00000000 00010000 0001 01 26 {path}" for path in paths]
    return "\n".join(["Num ...", *rows])


def test_devices_that_answer_are_found(peer, tmp_path):
    made = peer()
    devices = find.find_devices(table_of(made.path, tmp_path / "gone.control"))
    assert [(device.path, device.cards[0]["wire"]) for device in devices] == [(made.path, "null")]


@pytest.mark.skipif(not os.path.exists(find.SOCKETS), reason="no /proc/net/unix")
def test_real_table_has_the_socket(peer):
    made = peer()
    assert made.path in find.listening(find.SOCKETS.read_text(errors="replace"))


def test_choice_of_a_device(peer, monkeypatch, tmp_path):
    second = os.path.abspath(tmp_path / "b.sock")
    cards = [
        {"card": 0, "wire": "null", "socket": "a"},
        {"card": 1, "wire": "null", "socket": second},
    ]
    made = peer(hello={**HELLO, "cards": cards})
    monkeypatch.setattr(find, "find_devices", list)
    with pytest.raises(ShellError, match="no device is running"):
        find.choose(None, None)
    one = find.Device(made.path, tuple(cards))
    monkeypatch.setattr(find, "find_devices", lambda: [one])
    assert find.choose(None, None) == (made.path, 0)
    assert find.choose(None, None, 1) == (made.path, 1)
    assert find.choose(second, None) == (made.path, 1), "the cards of a process share one socket"
    assert find.choose("/nothing.sock", None) == ("/nothing.sock.control", 0)
    assert find.choose(None, "/x.control", 2) == ("/x.control", 2)
    monkeypatch.setattr(find, "find_devices", lambda: [one, one])
    with pytest.raises(ShellError) as caught:
        find.choose(None, None)
    assert f"--control {made.path} (null, null)" in caught.value.fix

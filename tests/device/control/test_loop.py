"""The device's event loop with a control socket: its waits stay as short as the card's deadlines."""

import select
import socket

import pytest
from control_rig import inspector_of

from tlsnic.device import server as server_module
from tlsnic.device.control.server import STUCK_NS, ControlServer
from tlsnic.device.server import MAX_WAIT_S, Server


class IdlePort:
    """A port with nothing to do until `due_ns`."""

    busy = False
    due_ns = None

    def filenos(self):
        return []

    def turn(self, now_ns, readable):
        self.turned_ns = now_ns

    def next_deadline_ns(self):
        return self.due_ns

    def close(self):
        pass


@pytest.fixture
def waits(monkeypatch):
    """Times that the loop waits, in seconds; it does not really."""
    taken = []
    real = select.select

    def wait(reads, writes, others, timeout_s):
        taken.append(timeout_s)
        return real(reads, writes, others, 0)

    monkeypatch.setattr(server_module.select, "select", wait)
    return taken


@pytest.fixture
def loop(rig, tmp_path):
    """Event loop, its port, its control server, and a clock that stands."""
    port = IdlePort()
    control = ControlServer(str(tmp_path / "c"), inspector_of(rig), lambda: 1000)
    with Server([port], lambda: 1000, control) as loop:
        yield loop, port, control


@pytest.fixture
def client(loop):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(loop[2].path)
        loop[0].turn()
        assert client.recv(1000)
        yield client


def test_an_idle_client_changes_no_wait(loop, client, waits):
    server, port, control = loop
    for due_ns, wait_s in ((None, MAX_WAIT_S), (8000, 7e-6), (1001, 1e-9), (5, 0.0)):
        port.due_ns = due_ns
        server.turn()
        assert waits.pop() == pytest.approx(wait_s)
    assert control.clients == 1


def test_requests_that_are_left_are_gone_on_with_at_once(loop, client, waits):
    server, port, control = loop
    times = iter(range(10_000_000, 1 << 40, 10_000_000))
    control._clock_ns = lambda: next(times)
    client.sendall(b'{"method": "device.info"}\n' * 3)
    server.turn()
    for _ in range(2):
        assert control.busy
        server.turn()
        assert waits[-1] == 0
        assert port.turned_ns == 1000  # the card has its turn between them
    assert not control.busy
    assert client.recv(1 << 16).count(b"\n") == 3


def test_a_card_is_never_told_an_earlier_time_than_a_request_told_it(rig, tmp_path, waits):
    times = iter(range(1000, 1 << 40, 1000))
    inspector = inspector_of(rig)
    inspector.cards[0].clock_ns = lambda: next(times)
    control = ControlServer(str(tmp_path / "c"), inspector, lambda: next(times))
    port = IdlePort()
    with (
        Server([port], lambda: next(times), control) as loop,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(control.path)
        loop.turn()
        client.sendall(b'{"method": "registers.read", "params": {"offset": 0}}\n')
        loop.turn()
        assert port.turned_ns > rig.nic.journal.now_ns > 0


def test_a_client_that_takes_nothing_is_looked_at_in_time(loop, client, waits):
    server, _, control = loop
    (state,) = control._clients.values()
    while state.send_event({"data": "x" * 10_000}):
        pass
    server.turn()
    assert control.clients == 1
    server.turn()
    assert waits[-1] == pytest.approx((STUCK_NS + 1) / 1e9)


def test_the_socket_is_closed_with_the_loop(rig, tmp_path):
    control = ControlServer(str(tmp_path / "c"), inspector_of(rig), lambda: 0)
    with Server([IdlePort()], lambda: 0, control):
        assert (tmp_path / "c").exists()
    assert not (tmp_path / "c").exists()
    control.close()

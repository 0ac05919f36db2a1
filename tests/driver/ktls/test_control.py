"""The control socket and switch_tls, on a live connection."""

import errno
import json
import socket
import stat
import threading

import pytest
from flows import make_session
from network import Rig

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls import switch_tls
from tlsnic.driver.ktls.control import ControlServer, ask
from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.driver.ktls.vlan import Vlan

GCM13 = CipherSuite.TLS13_AES_128_GCM
DATA = bytes(range(256)) * 400
CONNECTION = ["10.0.0.1", "4000", "10.0.0.2", "443"]


@pytest.fixture
def served(tmp_path):
    """A rig with a VLAN on a lagg of two cards, and its control socket."""
    rig = Rig(build=lambda rig: Vlan(Lagg(rig.ifnets), 5), vlan=5)
    path = tmp_path / "control"
    server = ControlServer(rig.stack, path)
    rig.enable(make_session(GCM13))
    yield rig, path
    server.close()
    assert not path.exists()
    rig.close()


def meanwhile(rig, function):
    """Run it in a thread, and take turns until it is done."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    while thread.is_alive():
        rig.stack.turn(0)
        thread.join(0.001)
    return results[0]


def mode(rig):
    return meanwhile(rig, lambda: ask(rig.path, {"op": "list"}))[0]["tx"]


def test_a_live_connection_is_switched_there_and_back(served, capsys):
    rig, path = served
    rig.path = path
    rig.send(DATA[:50_000], until=lambda: len(rig.got) > 20_000)
    assert meanwhile(rig, lambda: switch_tls.main(["-c", str(path), "-s", *CONNECTION])) == 0
    assert mode(rig) == "sw"
    rig.send(DATA[50_000:])
    assert meanwhile(rig, lambda: switch_tls.main(["-c", str(path), "-i", "-a"])) == 0
    assert mode(rig) == "ifnet"
    rig.send(DATA)
    assert rig.plaintext() == DATA + DATA
    rig.check_wire()
    assert meanwhile(rig, lambda: switch_tls.main(["-c", str(path), "-l"])) == 0
    connection = " ".join(CONNECTION)
    assert capsys.readouterr().out.splitlines() == [
        f"{connection}: sw",
        f"{connection}: ifnet",
        f"{connection} ifnet tlsnic0",
    ]


def test_what_cannot_be_switched_is_told(served, capsys):
    rig, path = served
    other = [*CONNECTION[:3], "444"]
    assert meanwhile(rig, lambda: switch_tls.main(["-c", str(path), "-s", *other])) == 1
    rig.top.set_capability("txtls4", False)
    meanwhile(rig, lambda: switch_tls.main(["-c", str(path), "-s", *CONNECTION]))
    assert meanwhile(rig, lambda: switch_tls.main(["-c", str(path), "-i", *CONNECTION])) == 1
    told = capsys.readouterr().err
    assert "no such connection" in told
    assert "switched off" in told
    assert switch_tls.main(["-c", str(path) + "x", "-l"]) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["-s"], ["-s", "-i", "-a"], ["-s", "1", "2", "3"], ["-a"], ["-l", "1"]]
)
def test_bad_command_lines(arguments):
    with pytest.raises(SystemExit):
        switch_tls.main(["-c", "/nowhere", *arguments])


def test_interfaces_and_settings(served):
    rig, path = served
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def request(**fields):
        return meanwhile(rig, lambda: ask(path, fields))

    shown = request(op="ifconfig", ifp="tlsnic1", capability="rxtls6", on=False)
    assert set(shown) == {"tlsnic0", "tlsnic1", "lagg0", "lagg0.5"}
    assert shown["tlsnic1"]["options"] == ["txtls4", "txtls6", "rxtls4"]
    assert "rxtls6" not in shown["lagg0.5"]["options"]
    assert request(op="sysctl", name="ifnet_max_rexmit_pct", value=7) == 7
    assert rig.counter("ifnet_max_rexmit_pct") == 7
    everything = request(op="sysctl")
    assert everything["kern.ipc.tls.ifnet.gcm"] == 1
    (one,) = request(op="list")
    assert one == {
        "local": ["10.0.0.1", 4000],
        "remote": ["10.0.0.2", 443],
        "state": "ESTABLISHED",
        "tx": "ifnet",
        "rx": "none",
        "ifp": "tlsnic0",
    }


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        ({"op": "nothing"}, errno.EINVAL),
        ({"op": "ifconfig", "ifp": "em0", "capability": "txtls4", "on": True}, errno.ENXIO),
        ({"op": "ifconfig", "ifp": "tlsnic0", "capability": "lro", "on": True}, errno.EINVAL),
        ({"op": "sysctl", "name": "nothing"}, errno.ENOENT),
        ({"op": "sysctl", "name": "stats.active", "value": 1}, errno.ENOENT),
        ({"op": "sysctl", "name": "maxlen", "value": -1}, errno.EINVAL),
        ({"op": "switch_tls", "mode": "sw"}, errno.EINVAL),
        ([], errno.EINVAL),
        ({"op": "switch_tls", "mode": "none", "local": ["10.0.0.1", 4000],
          "remote": ["10.0.0.2", 443]}, errno.EINVAL),
    ],
)  # fmt: skip
def test_bad_requests(served, request_, number):
    rig, path = served
    server_answer = meanwhile(rig, lambda: _errno(path, request_))
    assert server_answer == number


def _errno(path, request):
    try:
        ask(path, request)
    except OSError as error:
        return error.errno
    return 0


def test_what_is_no_json(served):
    _, path = served
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"{\n")
        assert json.loads(client.recv(1000))["errno"] == errno.EINVAL

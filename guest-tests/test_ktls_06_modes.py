"""KTLS-06: TCP_TXTLS_MODE and TCP_RXTLS_MODE read and switch none, software, ifnet; a switch tool for
live connections.

FreeBSD's ktls_set_tx_mode(), and tools/tools/switch_tls, which asks for it by sysctl; here it asks
the control socket of the process with the connections. TCP_RXTLS_MODE can only be read, as there.
"""

import errno
import json
import threading

import pytest
from harness.ktls import CARD, CBC12, GCM12, GCM13, HOST, NEAR
from harness.ktls_two_cards import Upload
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls import switch_tls
from tlsnic.driver.ktls.control import ControlServer, ask
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_NONE,
    TCP_TLS_MODE_SW,
)

pytestmark = [pytest.mark.row("KTLS-06"), CARD, pytest.mark.root]
NONE, SW, IFNET = TCP_TLS_MODE_NONE, TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET


def test_ktls_06_reading(network):
    line = network().connect(GCM13)
    assert (line.tx_mode, line.rx_mode) == (NONE, NONE)
    line.enable_tx()
    assert (line.tx_mode, line.rx_mode) == (IFNET, NONE)
    line.enable_rx()
    assert (line.tx_mode, line.rx_mode) == (IFNET, IFNET)
    line.switch(SW)
    assert (line.tx_mode, line.rx_mode) == (SW, IFNET)
    line.so.write(marked(100))
    assert line.arrived() == marked(100)


def test_ktls_06_what_cannot_be_set(network):
    one = network()
    line = one.connect(GCM13)
    line.switch(SW)
    assert line.tx_mode == NONE, "without TLS nothing happens"
    line.enable_tx()
    line.enable_rx()
    for mode in (NONE, 3):
        with pytest.raises(OSError, match="mode") as caught:
            line.switch(mode)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="option") as caught:
        line.so.setsockopt(IPPROTO_TCP, TCP_RXTLS_MODE, SW)
    assert caught.value.errno == errno.ENOPROTOOPT
    assert (line.tx_mode, line.rx_mode) == (IFNET, IFNET)
    assert one.counter("stats.switch_to_sw") == one.counter("stats.switch_to_ifnet") == 0


@pytest.mark.parametrize("suite", [GCM12, GCM13, CBC12], ids=lambda suite: suite.name)
def test_ktls_06_switching_a_live_connection(network, suite, scale):
    """With loss, data of both kinds under way; OpenSSL reads one stream."""
    one = network()
    line = one.connect(suite)
    line.enable_tx()
    upload = Upload(line, scale(600_000, 160_000))
    turns = 4
    piece = len(upload.data) // turns
    one.between("lose", from_card=0.01, seed=2)
    for turn in range(turns):
        upload.write(piece)
        if turn % 2:
            line.flush()  # a card has one flow for a connection
            line.switch(IFNET)
        else:
            line.switch(SW)
    one.between("lose")
    upload.check()
    assert one.counter("stats.switch_to_sw") == one.counter("stats.switch_to_ifnet") == 2
    assert one.counter("stats.switch_failed") == 0


def test_ktls_06_no_flow_for_records_of_two_tags(network):
    """EBUSY while records of another tag are not acknowledged: the session stays as it is."""
    one = network()
    line = one.connect(GCM13)
    line.enable_tx()
    line.so.write(marked(100_000, 1))
    line.switch(SW)
    with pytest.raises(OSError, match="not acknowledged") as caught:
        line.switch(IFNET)
    assert caught.value.errno == errno.EBUSY
    assert line.tx_mode == SW
    assert one.counter("stats.switch_failed") == 1
    line.so.write(marked(1000, 2))
    assert line.arrived() == marked(100_000, 1) + marked(1000, 2)


def test_ktls_06_tls_1_0_stays_in_software(network):
    """Only the session that has encrypted the last record can encrypt the next."""
    line = network().connect(CipherSuite.TLS10_AES_CBC_SHA1)
    line.enable_tx()
    assert line.tx_mode == SW
    with pytest.raises(OSError, match=r"TLS 1\.0") as caught:
        line.switch(IFNET)
    assert caught.value.errno == errno.EOPNOTSUPP
    line.so.write(marked(1000))
    assert line.arrived() == marked(1000)


class Tool:
    """switch_tls, in a thread of its own while the stack takes turns."""

    def __init__(self, one, path, capsys):
        self.one, self.path, self.capsys = one, str(path), capsys

    def __call__(self, *words):
        """Exit status, lines on standard output, and on standard error."""
        self.capsys.readouterr()
        status = []
        thread = threading.Thread(
            target=lambda: status.append(switch_tls.main(["-c", self.path, *words]))
        )
        thread.start()
        self.one.run(lambda: not thread.is_alive(), "the tool has ended")
        thread.join()
        out, err = self.capsys.readouterr()
        return status[0], out.splitlines(), err.splitlines()


@pytest.fixture
def tool(network, tmp_path, capsys, defer):
    one = network()
    path = tmp_path / "control"
    server = ControlServer(one.stack, path)
    defer(server.close)
    return Tool(one, path, capsys)


def words(line):
    end = line.inp.connection.endpoint
    return NEAR, str(end.local_port), HOST, str(end.remote_port)


def test_ktls_06_the_tool(tool):
    """-l lists, -s and -i switch one connection, -a all that have TLS."""
    one = tool.one
    lines = [one.connect(GCM12), one.connect(GCM13), one.connect()]
    for line in lines[:2]:
        line.enable_tx()
        line.so.write(marked(50_000))
    status, listed, _ = tool("-l")
    assert status == 0
    assert sorted(listed) == sorted(
        " ".join([*words(line), "ifnet", "tlsnic0"]) for line in lines[:2]
    )
    assert tool("-s", *words(lines[0]))[0] == 0
    assert [line.tx_mode for line in lines] == [SW, IFNET, NONE]
    for line in lines[:2]:
        line.so.write(marked(1000))
        assert line.arrived() == marked(50_000) + marked(1000)
    assert tool("-i", "-a")[0] == 0
    assert [line.tx_mode for line in lines] == [IFNET, IFNET, NONE]
    assert tool("-s", "-a")[0] == 0
    assert [line.tx_mode for line in lines] == [SW, SW, NONE]
    for line in lines[:2]:
        line.so.write(marked(2000))
        assert line.arrived() == marked(2000)


def test_ktls_06_the_tool_says_why_not(tool):
    one = tool.one
    line = one.connect(GCM13)
    line.enable_tx()
    one.top.set_capability("txtls4", False)
    assert tool("-s", *words(line))[0] == 0
    status, _, errors = tool("-i", *words(line))
    assert status == 1
    assert "switched off" in errors[0]
    assert line.tx_mode == SW
    status, _, errors = tool("-s", NEAR, "1", HOST, "2")
    assert status == 1
    assert "no such connection" in errors[0]


def test_ktls_06_the_control_socket(tool):
    """What sysctl(8) and ifconfig(8) ask: by name, as JSON."""
    one = tool.one
    answers = []

    def asking(request):
        thread = threading.Thread(target=lambda: answers.append(ask(tool.path, request)))
        thread.start()
        one.run(lambda: not thread.is_alive(), "there is an answer")
        thread.join()
        return answers[-1]

    tree = asking({"op": "sysctl"})
    assert tree == one.kernel.sysctl.snapshot()
    assert json.loads(one.kernel.sysctl.json()) == tree
    assert asking({"op": "sysctl", "name": "ifnet.permitted", "value": 0}) == 0
    line = one.connect(GCM13)
    line.enable_tx()
    assert line.tx_mode == SW, "not permitted by the administrator"
    one.kernel.sysctl["ifnet.permitted"] = 1
    found = asking({"op": "ifconfig", "ifp": "tlsnic0", "capability": "txtls6", "on": False})
    assert found["tlsnic0"]["options"] == ["txtls4", "rxtls4", "rxtls6"]

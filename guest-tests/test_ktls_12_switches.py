"""KTLS-12: per-interface switches for transmit TLS over IPv4 and IPv6, receive TLS, at run time.

The names are those of ifconfig(8): txtls4, txtls6; rxtls4, rxtls6. Sessions keep what they have.
"""

import errno

import pytest
from harness.ktls import CARD, GCM13
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW

pytestmark = [pytest.mark.row("KTLS-12"), CARD, pytest.mark.root]
SW, IFNET = TCP_TLS_MODE_SW, TCP_TLS_MODE_IFNET
every_family = pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])


@every_family
@pytest.mark.parametrize("direction", ["tx", "rx"])
def test_ktls_12_each_switch_is_for_its_own(network, direction, ipv6):
    """All others are off, and the one is on; then the other way round."""
    one = network()
    ifp = one.top
    mine = f"{direction}tls{6 if ipv6 else 4}"
    every = ["txtls4", "txtls6", "rxtls4", "rxtls6"]
    assert ifp.capabilities_on == every
    for is_on in (True, False):
        for name in every:
            ifp.set_capability(name, (name == mine) is is_on)
        assert (mine in ifp.capabilities_on) is is_on
        line = one.connect(GCM13, ipv6=ipv6)
        line.enable_tx()
        line.enable_rx()
        found = {"tx": line.tx_mode, "rx": line.rx_mode}
        assert found.pop(direction) == (IFNET if is_on else SW)
        assert found.popitem()[1] == (SW if is_on else IFNET)
        line.so.write(marked(20_000, 1))
        assert line.arrived() == marked(20_000, 1)
        line.far_write(marked(9000, 2))
        assert line.read(9000) == marked(9000, 2)
        line.close()


@every_family
def test_ktls_12_live_sessions_keep_what_they_have(network, ipv6):
    one = network()
    name = "txtls6" if ipv6 else "txtls4"
    line = one.connect(GCM13, ipv6=ipv6)
    line.enable_tx()
    line.so.write(marked(30_000, 1))
    one.top.set_capability(name, False)
    line.so.write(marked(30_000, 2))
    assert line.arrived() == marked(30_000, 1) + marked(30_000, 2)
    assert line.tx_mode == IFNET
    line.switch(SW)
    with pytest.raises(OSError, match="switched off") as caught:
        line.switch(IFNET)
    assert caught.value.errno == errno.EOPNOTSUPP
    one.top.set_capability(name, True)
    line.switch(IFNET)
    line.so.write(marked(5000))
    assert line.arrived() == marked(5000)


def test_ktls_12_names_that_are_none(network):
    one = network()
    with pytest.raises(OSError, match="txtls5") as caught:
        one.top.set_capability("txtls5", True)
    assert caught.value.errno == errno.EINVAL


def test_ktls_12_the_administrator(network):
    """kern.ipc.tls.ifnet.permitted: no session by default, but for who forces it (TCP_TXTLS_MODE)."""
    one = network()
    one.kernel.sysctl["ifnet.permitted"] = 0
    line = one.connect(GCM13)
    line.enable_tx()
    line.enable_rx()
    assert (line.tx_mode, line.rx_mode) == (SW, SW)
    line.switch(IFNET)
    line.so.write(marked(3000))
    assert line.arrived() == marked(3000)

"""LIF-09: too many retransmits: the connection moves to software once.

FreeBSD's ktls_check_rexmit() and ktls_disable_ifnet(): of all bytes sent, retransmits are more than
kern.ipc.tls.ifnet_max_rexmit_pct percent. The host's switch loses frames of the card.
"""

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW

pytestmark = [pytest.mark.row("LIF-09"), CARD, pytest.mark.root]
PIECE = 30_000


def send(line, pieces, seed=0):
    for number in range(pieces):
        line.so.write(marked(PIECE, seed + number))
        line.flush()
    return b"".join(marked(PIECE, seed + number) for number in range(pieces))


def make(network, percent, suite=GCM13):
    one = network()
    one.kernel.sysctl["ifnet_max_rexmit_pct"] = percent
    line = one.connect(suite)
    line.enable_tx()
    assert line.tx_mode == TCP_TLS_MODE_IFNET
    return one, line


def test_lif_09_to_software_once(network):
    """And the stream goes on; who forces it back to the card is not overruled a second time."""
    one, line = make(network, 2)
    # The second segment, then its like in every piece.
    one.between("lose", from_card=0.1, seed=1)
    data = b""
    while line.tx_mode == TCP_TLS_MODE_IFNET:
        data += send(line, 1, len(data))
        assert len(data) < 20 * PIECE, "not one loss"
    counts = line.inp.connection.statistics
    again = counts.bytes_retransmitted
    assert 100 * again > 2 * (again + counts.bytes_sent)
    assert line.inp.t_nic_ktls_xmit_dis
    assert one.counter("stats.ifnet_disable_ok") == 1
    assert one.counter("stats.switch_to_sw") == 1
    one.between("lose")
    data += send(line, 1, 7)
    line.switch(TCP_TLS_MODE_IFNET)
    one.between("lose", from_card=0.1, seed=2)
    data += send(line, 3, 100)
    one.between("lose")
    assert line.inp.connection.statistics.bytes_retransmitted > again
    assert line.tx_mode == TCP_TLS_MODE_IFNET, "only once"
    assert one.counter("stats.ifnet_disable_ok") == 1
    assert line.arrived() == data


def test_lif_09_a_few_are_no_reason(network):
    """Percent of all bytes that were sent, so a long connection may have many."""
    one, line = make(network, 30)
    one.between("lose", from_card=0.03, seed=3)
    data = send(line, 6)
    one.between("lose")
    assert line.inp.connection.statistics.retransmits
    assert not line.inp.t_nic_ktls_xmit_dis
    assert one.counter("stats.ifnet_disable_ok") == 0
    assert line.tx_mode == TCP_TLS_MODE_IFNET
    assert line.arrived() == data


def test_lif_09_each_connection_by_itself(network):
    one, line = make(network, 2)
    other = one.connect(GCM12)
    other.enable_tx()
    data = send(other, 2, 50)
    one.between("lose", from_card=0.1, seed=1)
    lost = b""
    while line.tx_mode == TCP_TLS_MODE_IFNET:
        lost += send(line, 1, len(lost))
    one.between("lose")
    assert other.tx_mode == TCP_TLS_MODE_IFNET
    data += send(other, 1, 60)
    assert line.arrived() == lost
    assert other.arrived() == data


def test_lif_09_software_is_left_alone(network):
    one = network()
    one.kernel.sysctl["ifnet_max_rexmit_pct"] = 0
    one.top.set_capability("txtls4", False)
    line = one.connect(GCM13)
    line.enable_tx()
    one.between("lose", from_card=0.1, seed=1)
    data = send(line, 3)
    one.between("lose")
    assert line.tx_mode == TCP_TLS_MODE_SW
    assert not line.inp.t_nic_ktls_xmit_dis
    assert one.counter("stats.switch_to_sw") == 0
    assert line.arrived() == data

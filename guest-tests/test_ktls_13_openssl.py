"""KTLS-13: a real OpenSSL peer at the other end of the wire, TLS 1.2 and 1.3, both directions,
megabytes, with loss.

The handshake goes over the wire too, by OpenSSL at both ends; then the keys go to the KTLS model. The
host's kernel does TCP there. Every frame at the card is scanned for plaintext.
"""

import hashlib

import pytest
from harness.ktls import CARD
from harness.ktls_openssl import Exchange, end, from_client, to_server
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW
from tlsnic.driver.ktls.workers import ThreadPool

pytestmark = [pytest.mark.row("KTLS-13"), CARD, pytest.mark.root]
VERSIONS = ["1.2", "1.3"]
BLOCK = marked(15_000)
every_version = pytest.mark.parametrize("version", VERSIONS)


def check_modes(line, mode):
    assert line.tx_mode == line.rx_mode == mode


@every_version
def test_ktls_13_server_with_loss(network, version, scale):
    """Ours is the client, and the card encrypts and decrypts; 1 % of all frames are lost."""
    one = network(pool=ThreadPool(2))
    line = to_server(one, version)
    check_modes(line, TCP_TLS_MODE_IFNET)
    exchange = Exchange(line, BLOCK, scale(300, 40))
    one.between("lose", to_card=0.01, from_card=0.01, seed=1)
    exchange.run()
    seen = one.check_frames()
    one.between("lose")
    assert seen["lost"]
    assert line.inp.connection.statistics.retransmits
    assert line.states()["DECRYPTED"], "the card has decrypted"
    assert line.states().get("MIXED", 0) + line.states().get("ENCRYPTED", 0), "not all"
    # The server's tickets are records like others.
    assert exchange.handshake_records == (2 if version == "1.3" else 0)
    end(line)


@every_version
def test_ktls_13_client(network, version, scale, tmp_path):
    """Ours is the server."""
    one = network()
    line = from_client(one, version, tmp_path)
    check_modes(line, TCP_TLS_MODE_IFNET)
    Exchange(line, BLOCK, scale(150, 15)).run()
    assert "ENCRYPTED" not in line.states(), "without a loss the card decrypts everything"
    assert one.counter("bytes_touched.encrypt") == 0
    end(line)


@every_version
def test_ktls_13_software_with_loss(network, version, scale):
    """The same without the card's help: two workers."""
    one = network(pool=ThreadPool(2))
    for name in ("txtls4", "rxtls4"):
        one.top.set_capability(name, False)
    line = to_server(one, version)
    check_modes(line, TCP_TLS_MODE_SW)
    one.between("lose", to_card=0.01, from_card=0.01, seed=2)
    Exchange(line, BLOCK, scale(150, 15)).run()
    one.between("lose")
    assert line.states().keys() == {"ENCRYPTED"}
    end(line)


def test_ktls_13_a_file_over_ipv6_with_loss(network, tmp_path, scale):
    """sendfile from pages that the CPU does not touch, to a plain OpenSSL reader."""
    one = network()
    line = to_server(one, "1.3", ipv6=True)
    path = tmp_path / "file"
    data = marked(scale(3_000_000, 400_000), 5)
    path.write_bytes(data)
    touched = one.kernel.sysctl.bytes_touched
    one.between("lose", from_card=0.005, seed=3)
    with path.open("rb") as file:
        assert line.so.sendfile(file.fileno(), 0) == len(data)
    line.flush()
    one.between("lose")
    state = one.far("state", token=line.token, count=len(data), wait_s=20.0)
    assert state["version"] == "TLSv1.3"
    assert (state["bytes"], state["error"]) == (len(data), "")
    assert state["sha256"] == hashlib.sha256(data).hexdigest()
    again = line.inp.connection.statistics.retransmits
    assert again
    # The card needs the beginning of a record to encrypt its middle again; that is copied.
    limit = 2 * again * one.kernel.page_cache.pool.page_bytes
    assert one.kernel.sysctl.bytes_touched - touched <= limit, "only what was sent again"

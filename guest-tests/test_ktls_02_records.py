"""KTLS-02: every write becomes records of at most the maximum length; sendmsg with
TLS_SET_RECORD_TYPE is one record of that type; sendfile sends without a copy.

Both where the card encrypts and where software does, read by OpenSSL at the other end of the wire.
"""

import errno

import pytest
from harness.ktls import CARD, CBC12, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TLS_RLTYPE_ALERT,
    TLS_RLTYPE_APP,
    TLS_SET_RECORD_TYPE,
)

pytestmark = [pytest.mark.row("KTLS-02"), CARD, pytest.mark.root]
MODES = {"software": TCP_TLS_MODE_SW, "ifnet": TCP_TLS_MODE_IFNET}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def open_line(network, suite, mode, **options):
    one = network()
    if mode == TCP_TLS_MODE_SW:
        one.top.set_capability("txtls4", False)
    line = one.connect(suite)
    line.enable_tx(line.end.near(**options))
    assert line.tx_mode == mode
    return line


def records(wire):
    """Type and length of each."""
    found = []
    while wire:
        size = int.from_bytes(wire[3:5], "big")
        found.append((wire[0], size))
        wire = wire[5 + size :]
    return found


@every_mode
@pytest.mark.parametrize("suite", [GCM12, GCM13, CBC12], ids=lambda suite: suite.name)
def test_ktls_02_writes_are_cut_into_records(network, suite, mode):
    line = open_line(network, suite, mode)
    sizes = [1, 5000, 16384, 16385, 50_000]
    data = [marked(size, size) for size in sizes]
    for piece in data:
        assert line.so.write(piece) == len(piece)
    wire = line.wire()
    assert line.end.open(wire) == b"".join(data)
    contents = []
    for size in sizes:
        contents += [16384] * (size // 16384) + ([size % 16384] if size % 16384 else [])
    assert [kind for kind, _ in records(wire)] == [23] * len(contents)
    layout = line.session.layout
    room = layout.explicit_bytes + layout.tag_bytes + layout.is_tls13
    if suite is CBC12:
        expected = [16 + (n + 32 + 16) // 16 * 16 for n in contents]
    else:
        expected = [n + room for n in contents]
    assert [size for _, size in records(wire)] == expected


@every_mode
def test_ktls_02_the_maximum_can_be_set(network, mode):
    one = network()
    one.top.set_capability("txtls4", mode == TCP_TLS_MODE_IFNET)
    one.kernel.sysctl["maxlen"] = 1000
    line = one.connect(GCM13)
    line.enable_tx()
    line.so.write(marked(3500))
    wire = line.wire()
    assert [size for _, size in records(wire)] == [1017, 1017, 1017, 517]
    assert line.end.open(wire) == marked(3500)


@every_mode
def test_ktls_02_a_record_of_another_type(network, mode):
    """All buffers of one sendmsg are one record; more than fits into one is refused."""
    line = open_line(network, GCM12, mode)
    set_type = [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes([TLS_RLTYPE_APP]))]
    line.so.write(marked(100))
    buffers = [marked(3000, 1), marked(4000, 2), marked(5000, 3)]
    assert line.so.sendmsg(buffers, set_type) == 12_000
    alert = [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes([TLS_RLTYPE_ALERT]))]
    with pytest.raises(OSError, match="one record") as caught:
        line.so.sendmsg([bytes(16385)], alert)
    assert caught.value.errno == errno.EMSGSIZE
    assert line.so.sendmsg([b"\1", b"\0"], alert) == 2
    wire = line.wire()
    assert records(wire) == [(23, 124), (23, 12_024), (21, 26)]
    assert line.end.open(wire) == marked(100) + b"".join(buffers)
    assert line.end.is_closed


@every_mode
def test_ktls_02_the_type_is_inside_with_tls_1_3(network, mode):
    line = open_line(network, GCM13, mode)
    line.so.write(marked(100))
    alert = [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes([TLS_RLTYPE_ALERT]))]
    line.so.sendmsg([b"\1\0"], alert)
    wire = line.wire()
    assert records(wire) == [(23, 117), (23, 19)]
    assert line.end.open(wire) == marked(100)
    assert line.end.is_closed


@every_mode
def test_ktls_02_sendfile(network, mode, tmp_path, scale):
    """With the card, the CPU touches not one byte of the file; software reads it to encrypt it, and
    copies nothing but what it encrypts."""
    line = open_line(network, GCM12, mode)
    data = marked(scale(400_000, 60_000))
    path = tmp_path / "file"
    path.write_bytes(data)
    sysctl = line.network.kernel.sysctl
    before = sysctl.bytes_touched
    with path.open("rb") as file:
        assert line.so.sendfile(file.fileno(), 1000, 50_000) == 50_000
        assert line.so.sendfile(file.fileno(), 0) == len(data)
    assert line.arrived() == data[1000:51_000] + data
    touched = sysctl.bytes_touched - before
    if mode == TCP_TLS_MODE_IFNET:
        assert touched == 0
    else:
        # Old versions of `cryptography` encrypt into memory of their own.
        assert sysctl["bytes_touched.encrypt"] == touched
        assert touched in (len(data) + 50_000, 2 * (len(data) + 50_000))
    cache = line.network.kernel.page_cache
    assert cache.reads == -(-len(data) // cache.pool.page_bytes), "a page is read once"
    line.network.run(lambda: not cache.wired, "no page is in use")

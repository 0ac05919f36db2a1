"""KTLS-03: one record per buffer: header, payload reference, trailer; lengths counted in TCP sequence
space.

Looked at in the socket buffer, before a turn of the stack sends it: what is there is what the wire
then has, byte for byte in length, and the host's acknowledgements free it record by record.
"""

import pytest
from harness.ktls import CARD, CBC12, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.ktls.mbuf import M_EXTPG, M_NOTREADY, M_RDONLY, chain
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET

pytestmark = [pytest.mark.row("KTLS-03"), CARD, pytest.mark.root]
SUITES = [GCM12, GCM13, CBC12, CipherSuite.TLS13_CHACHA20_POLY1305]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
MASK = 0xFFFF_FFFF


def sent_bytes(line):
    return line.inp.snd_nxt - line.start & MASK


@every_suite
def test_ktls_03_a_record_is_one_buffer(network, suite):
    line = network().connect(suite)
    line.enable_tx()
    assert line.tx_mode == TCP_TLS_MODE_IFNET
    session, sizes = line.session, [1, 100, 16384, 777]
    layout, data = session.layout, [marked(n, n) for n in sizes]
    for piece in data:
        line.so.write(piece)
    buffers = list(chain(line.so.so_snd.sb_mb))
    assert len(buffers) == len(sizes)
    total = 0
    for number, (m, piece) in enumerate(zip(buffers, data, strict=True)):
        assert m.m_flags & M_EXTPG
        assert not m.m_flags & M_NOTREADY, "the card will encrypt it"
        assert m.m_epg_seqno == session.record_number + number
        assert m.m_epg_tls is line.so.so_snd.sb_tls_info
        header = bytes(m.m_epg_hdr)
        assert len(header) == m.m_epg_hdrlen == 5 + layout.explicit_bytes
        assert header[0] == 23
        if suite is not CBC12:  # there the minor version has the padding length: the card's rule
            assert header[1:3] == b"\3\3"
        assert 5 + int.from_bytes(header[3:5], "big") == m.m_len
        assert b"".join(m.payload()) == piece
        assert m.m_len == m.m_epg_hdrlen + len(piece) + m.m_epg_trllen
        if suite is CBC12:
            assert 32 < m.m_epg_trllen <= 48
            assert (m.m_epg_trllen + len(piece)) % 16 == 0
        else:
            assert m.m_epg_trllen == 16 + layout.is_tls13
        total += m.m_len
    assert line.so.so_snd.sbused() == line.so.so_snd.sbavail() == total
    wire = line.wire()
    assert len(wire) == total == sent_bytes(line)
    assert line.end.open(wire) == b"".join(data)


def test_ktls_03_payload_of_a_file_is_a_reference(network, tmp_path):
    """The pages of the cache themselves, wired as long as the record is not acknowledged."""
    line = network().connect(GCM12)
    line.enable_tx()
    path = tmp_path / "file"
    path.write_bytes(marked(40_000))
    with path.open("rb") as file:
        line.so.sendfile(file.fileno(), 0)
    cache = line.network.kernel.page_cache
    buffers = list(chain(line.so.so_snd.sb_mb))
    sizes = [sum(map(len, m.payload())) for m in buffers]
    assert sizes == [16384, 16384, 40_000 - 32_768]
    assert all(m.m_flags & M_RDONLY for m in buffers)
    assert cache.wired == 3
    nic = line.network.nics[0]
    for index, m in enumerate(buffers):
        page = cache._pages[next(k for k in cache._pages if k[1] == index)]
        assert m.m_epg_pa == [page]
        pieces = list(m.pieces(0))
        assert [len(piece.view) for piece in pieces] == [13, sizes[index], m.m_epg_trllen]
        assert pieces[1].iova == page.iova
        assert all(piece.domain is nic for piece in pieces), "the card sees every part"
    assert line.arrived() == marked(40_000)
    line.network.run(lambda: not cache.wired, "no page is in use")


def test_ktls_03_acknowledgements_free_whole_records(network):
    """What is acknowledged in mid-record stays: it may have to be encrypted again."""
    line = network().connect(GCM13)
    line.enable_tx()
    line.network.between("lose", from_card=0.3, seed=3)
    line.so.write(marked(150_000))
    seen = set()

    def look():
        first = line.so.so_snd.sb_mb
        if first is not None and first.m_off:
            seen.add(first.m_epg_seqno)
            assert len(b"".join(m.view for m in first.parts())) == first.m_off + first.m_len
        if len(seen) == 1:
            line.network.between("lose")
        return not line.so.so_snd.sbused()

    line.network.run(look, "everything acknowledged")
    assert seen, "something was acknowledged in mid-record"
    assert line.arrived() == marked(150_000)

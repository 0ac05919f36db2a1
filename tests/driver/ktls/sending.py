"""Sockets that only send, into memory, and what a peer would read of it."""

import random
from pathlib import Path

from test_software import unprotect

from tlsnic.abi.suites import SUITES
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.session import IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable
from tlsnic.driver.ktls.socket import Socket
from tlsnic.driver.ktls.workers import ScheduledPool

MASK64 = (1 << 64) - 1


class Tag:
    """A send tag that only knows whether it was given back."""

    def __init__(self, tls):
        self.tls = tls
        self.first_seqno = tls.first_seqno
        self.released = 0

    def release(self):
        self.released += 1


class Tcp:
    """ProtocolSwitch without a network. `ifnet`: whether there are send tags; `on_wait`: what
    happens while somebody waits for room; `events`: what it was called for."""

    def __init__(self, *, ifnet=False, on_wait=None):
        self.ifnet = ifnet
        self.on_wait = on_wait
        self.events = []
        self.tags = []
        self.told = []
        self.has_dropped = False
        self.rcv_nxt = 0

    def pr_send(self, so):
        self.events.append("send")

    def pr_ready(self, so):
        self.events.append("ready")

    def pr_rcvd(self, so):
        self.events.append("rcvd")

    def pr_shutdown(self, so):
        self.events.append("shutdown")

    def pr_close(self, so):
        self.events.append("close")
        if self.has_dropped:
            so.sofree()

    def pr_abort(self, so):
        so.sofree()

    def tcp_drop(self, so, error):
        self.events.append(("drop", error))
        self.has_dropped = True
        so.so_snd.sbflush()

    def call(self, function):
        return function()

    def sorwakeup(self, so):
        self.events.append("rcv")

    def snd_tag_alloc(self, so, tls, *, force):
        if not self.ifnet:
            raise OSError(95, "no interface does TLS")
        self.tags.append(Tag(tls))
        return self.tags[-1]

    def rcv_start(self, so):
        return self.rcv_nxt - so.so_rcv.sb_ccc & 0xFFFF_FFFF

    def rcv_tag_alloc(self, so, tls, *, tcp_sequence, record_number, force):
        if not self.ifnet:
            raise OSError(95, "no interface does TLS")
        self.tags.append(Tag(tls))
        self.tags[-1].start = (tcp_sequence, record_number)
        return self.tags[-1]

    def rx_tag_modify(self, so, params):
        self.told.append(params)

    def sbwait(self, so, sb, timeout_s):
        if self.on_wait is None:
            return False
        return bool(self.on_wait(so))


def make_socket(session=None, *, kernel=None, proto=None, **options):
    """A socket, with TLS for transmit if there is a session (`TlsSession`)."""
    so = Socket(kernel or Kernel(workers=ScheduledPool()), proto or Tcp(), **options)
    if session is not None:
        so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(session))
    return so


def take(so, most=None):
    """Send and acknowledge what may be sent, at most so many bytes: the bytes on the wire."""
    sb = so.so_snd
    with sb.sb_mtx:
        count = sb.sbavail() if most is None else min(sb.sbavail(), most)
        pieces = [
            bytes(view)
            for m, offset, length in sb.iterate(0, count)
            for view in m.views(offset, length)
        ]
        sb.sbdrop(count)
        sb.sbcheck()
    return b"".join(pieces)


def take_all(so):
    """The same after all workers are done."""
    so.kernel.workers.drain()
    assert not so.kernel.workers.failures
    found = take(so)
    assert not so.so_snd.sbused()
    return found


def split(wire):
    """Records of a stream."""
    records = []
    while wire:
        size = 5 + int.from_bytes(wire[3:5], "big")
        assert len(wire) >= size
        records.append(wire[:size])
        wire = wire[size:]
    return records


def opened(session, wire, number=None):
    """Type and content of all records, decrypted by the code of test_software."""
    number = session.record_number if number is None else number
    found = []
    iv = bytes(session.iv)
    chained = session.layout.version == 0x0301
    for at, record in enumerate(split(wire)):
        found.append(unprotect(session, record, number + at, iv if chained else None))
        iv = record[-16:]
    return found


def content(session, wire, number=None):
    """Application data of a stream that has nothing else."""
    records = opened(session, wire, number)
    assert {kind for kind, _ in records} <= {23}
    return b"".join(data for _, data in records)


def make_file(path: Path, size, seed=1):
    """A file with content that depends on the seed; its content."""
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return data


ALL_SUITES = [(suite, size) for suite, layout in SUITES.items() for size in layout.key_bytes]
"""With each length of key."""

"""A TLS stream as the wire carries it, a receive flow that takes it, and what must come of it.

Records and their plaintext are those of stream_bench, made with `cryptography` from the RFCs. The
null cipher is for bytes on the wire that one can choose: its "decryption" adds a number that depends
on key and record number, and its tag is a hash, so that what was opened wrongly shows.
"""

import hashlib
import random
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

from stream_bench import Stream, case_of

from tlsnic.abi.enums import TlsRxState
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.opening import make_opener
from tlsnic.device.tls.rx_flow import RxFlow
from tlsnic.device.tls.tracker_states import State

DECRYPTED = TlsRxState.DECRYPTED
AS_ON_WIRE = TlsRxState.AS_ON_WIRE
AUTH_FAILED = TlsRxState.AUTH_FAILED

GCM13 = case_of("TLS13_AES_128_GCM")
GCM12 = case_of("TLS12_AES_128_GCM")
CHACHA13 = case_of("TLS13_CHACHA20_POLY1305")
CHACHA12 = case_of("TLS12_CHACHA20_POLY1305")
AEAD = [GCM13, GCM12, CHACHA13, CHACHA12]

MASK = 0xFFFF_FFFF
NAMES = (
    "rx_tls_decrypted_packets", "rx_tls_decrypted_bytes", "rx_tls_resync_req_pkt",
    "rx_tls_resync_req_start", "rx_tls_resync_req_end", "rx_tls_resync_req_skip",
    "rx_tls_resync_res_ok", "rx_tls_resync_res_skip", "rx_tls_resync_tag", "rx_tls_err",
)  # fmt: skip


def counters():
    return SimpleNamespace(**dict.fromkeys(NAMES, 0))


class Wire(Stream):
    """A stream with, beside `wire`, what a host sees when all of it is decrypted: `plain`."""

    def __init__(self, case=GCM13, **options):
        super().__init__(case, **options)
        self.plain = bytearray()

    def add(self, content_bytes=60, **options):
        entry = super().add(content_bytes, **options)
        tag = entry.start + entry.cipher_end
        self.plain += self.laid_out[entry.start : tag] + self.wire[tag:]
        return entry

    def opener(self):
        """Of the first key."""
        return self._opener(self.case.keys(self.seed))

    def _opener(self, keys):
        return make_opener(self.case.format(), KeyMaterial(*keys[:2]), KeyCache())

    def new_key(self, seed):
        """The records to come have another key, and count from 0."""
        self.rekey(seed)
        return NewKey(len(self.wire), partial(self._opener, self.keys))


class NullOpener:
    """The null cipher, for TLS 1.3 records. `key` is a small number."""

    def __init__(self, record_format, key=0):
        self.format = record_format
        self.key = key
        self.wiped = False

    def open(self, record, body, out):
        assert not self.wiped
        out[:] = null_cipher(self.key, record.number, bytes(body[:-16]), -1)
        return bytes(body[-16:]) == null_tag(self.key, record.number, record.prefix, body[:-16])

    def begin(self, record):
        assert not self.wiped
        return NullStream(self, record)

    def decrypt_rest(self, record, offset, data, out):
        assert not self.wiped
        content = max(0, record.content_bytes - offset)
        out[:content] = null_cipher(self.key, record.number, bytes(data[:content]), -1)
        out[content : len(data)] = data[content:]

    def settle(self, header, body, first, count):
        assert not self.wiped
        for number in range(first, first + min(count, 64)):
            if bytes(body[-16:]) == null_tag(self.key, number, header, body[:-16]):
                return number
        return None

    def wipe(self):
        self.wiped = True


class NullStream:
    def __init__(self, opener, record):
        self.opener = opener
        self.record = record
        self.position = len(record.prefix)
        self.body = b""

    def update(self, data, out):
        assert len(out) >= len(data)
        content = self.record.content_bytes - len(self.body)
        content = min(max(0, content), len(data))
        opener, number = self.opener, self.record.number
        out[:content] = null_cipher(opener.key, number, bytes(data[:content]), -1)
        out[content : len(data)] = data[content:]
        self.body += data
        self.position += len(data)
        if self.position < self.record.total_bytes:
            return True
        assert self.position == self.record.total_bytes
        tag = null_tag(opener.key, number, self.record.prefix, self.body[:-16])
        return self.body[-16:] == tag


def null_cipher(key, number, data, sign=1):
    add = sign * (number * 7 + key * 101 + 3)
    return bytes(byte + add & 0xFF for byte in data)


def null_tag(key, number, prefix, body):
    covered = b"%d %d " % (key, number) + bytes(prefix) + bytes(body)
    return hashlib.blake2s(covered, digest_size=16).digest()


class NullWire:
    """As Wire, with the null cipher: content on the wire is chosen freely."""

    def __init__(self, *, sequence=1000, number=0, max_plaintext=16384):
        self.format = GCM13.format(max_plaintext)
        self.sequence = sequence
        self.number = number
        self.key = 0
        self.wire = bytearray()
        self.plain = bytearray()
        self.starts = []
        self.numbers = []

    def __len__(self):
        return len(self.wire)

    def add(self, body):
        """A record whose ciphertext is `body`, at least 1 byte."""
        header = b"\x17\x03\x03" + (len(body) + 16).to_bytes(2, "big")
        tag = null_tag(self.key, self.number, header, body)
        self.starts.append(len(self.wire))
        self.numbers.append(self.number)
        self.wire += header + body + tag
        self.plain += header + null_cipher(self.key, self.number, body, -1) + tag
        self.number += 1

    def add_content(self, content):
        self.add(null_cipher(self.key, self.number, content))

    def opener(self):
        """Of the first key."""
        return NullOpener(self.format)

    def rekey(self):
        """The records to come have another key."""
        self.key += 1
        self.number = 0
        return NewKey(len(self.wire), partial(NullOpener, self.format, self.key))


class NewKey(NamedTuple):
    """What a host tells of a rekey."""

    start: int
    make_opener: object


def look_alike(total):
    """Header of a record with `total` bytes on the wire."""
    return b"\x17\x03\x03" + (total - 5).to_bytes(2, "big")


class Host:
    """A receive flow with its counters, what it said of each packet, and a host that knows all."""

    def __init__(self, wire, *, host=True, tag=False, number=None, sequence=None, timeout_ns=0):
        self.wire = wire
        self.counters = counters()
        self.timeout_ns = timeout_ns
        self.now_ns = 0
        self.questions = []
        self.timed_out = False
        self.rekeyed = 0
        """New keys that the flow was told of."""
        record_format = getattr(wire, "format", None) or wire.case.format()
        self.flow = RxFlow(
            record_format,
            wire.opener(),
            tcp_sequence=wire.sequence if sequence is None else sequence,
            record_number=wire.number if number is None else number,
            address=b"",
            vlan_id=None,
            resync_host=host,
            resync_tag=tag,
            counters=self.counters,
        )

    def take(self, begin, end):
        """The packet with the bytes `begin` to `end` of the stream. Returns the verdict."""
        data = bytes(self.wire.wire[begin:end])
        verdict = self.take_bytes(begin, data)
        if verdict.state is DECRYPTED:
            assert self.out == self.wire.plain[begin:end], "decrypted wrongly"
        return verdict

    def take_bytes(self, begin, data):
        """Any bytes at `begin`."""
        out = bytearray(len(data) + 3)
        sequence = self.wire.sequence + begin & MASK
        verdict = self.flow.take(
            sequence, memoryview(data), memoryview(out), self.now_ns, self.timeout_ns
        )
        self.out = bytes(out[: len(data)])
        if verdict.question is not None:
            self.questions.append(verdict.question)
        self.check()
        return verdict

    def feed(self, begin, end, size=1000):
        """The bytes `begin` to `end` in packets of `size`. Returns the states."""
        return [self.take(at, min(at + size, end)).state for at in range(begin, end, size)]

    def answer(self, question=None, found=None, number=None):
        """Answers the newest question, truly if not told otherwise."""
        question = question or self.questions[-1]
        start = question.sequence - self.wire.sequence & MASK
        true = self.number_at(start)
        if found is None:
            found = true is not None
        number = number if number is not None else true or 0
        result = self.flow.answer(question.number, question.sequence, found, number)
        self.check()
        return result

    def hint(self, start, number=None):
        number = self.number_at(start) if number is None else number
        result = self.flow.hint(self.wire.sequence + start & MASK, number)
        self.check()
        return result

    def rekey(self, new):
        self.rekeyed += 1
        self.flow.rekey(new.make_opener(), self.wire.sequence + new.start & MASK, 0)
        self.check()

    def number_at(self, start):
        """Number of the record that starts there, or None."""
        if isinstance(self.wire, NullWire):
            found = zip(self.wire.starts, self.wire.numbers, strict=True)
        else:
            found = ((entry.start, entry.number) for entry in self.wire.records)
        return dict(found).get(start)

    @property
    def state(self):
        return self.flow.state

    def check(self):
        """What holds at any time."""
        count, flow = self.counters, self.flow
        open_questions = int(flow._question is not None)
        ended = count.rx_tls_resync_req_end + count.rx_tls_resync_req_skip
        assert count.rx_tls_resync_req_start == ended + open_questions == flow.questions
        assert count.rx_tls_resync_req_pkt == len(self.questions) <= flow.questions
        assert not open_questions or flow.state is State.TRACK
        assert (flow._stream is None) or flow.state is State.OFFLOAD
        assert flow.host_resyncs == count.rx_tls_resync_res_ok
        assert flow.tag_resyncs == count.rx_tls_resync_tag
        assert flow.auth_failures == count.rx_tls_err
        assert flow.packets == count.rx_tls_decrypted_packets
        assert flow.payload_bytes == count.rx_tls_decrypted_bytes


def packets_of(length, seed, most=200):
    """Cuts `length` bytes into packets of 1 to `most` bytes."""
    rng = random.Random(seed)
    at, packets = 0, []
    while at < length:
        end = min(length, at + rng.randint(1, most))
        packets.append((at, end))
        at = end
    return packets

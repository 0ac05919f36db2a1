"""Runs of packets: what a receive flow makes of packets that follow each other, for less.

The result is that of taking them one by one. Whole records in a run are opened in one go, wherever
the packets cut them; pieces of a record in several packets go through the cipher together.
"""

from typing import Final

from tlsnic.abi.enums import TlsRxState
from tlsnic.device.tls.key_update import AFTER_HANDSHAKE
from tlsnic.device.tls.record import BadRecord
from tlsnic.device.tls.rx_flow import DECRYPTED, MOST_RECORDS, RxFlow, Verdict
from tlsnic.device.tls.rx_records import NUMBER_MASK
from tlsnic.device.tls.tracker import SEQUENCE_MASK, Segment
from tlsnic.device.tls.tracker_states import State

_DECRYPTED: Final = tuple(
    DECRYPTED if not records else Verdict(TlsRxState.DECRYPTED, records, None, False)
    for records in range(MOST_RECORDS + 1)
)


class RxRunFlow(RxFlow):
    """A receive flow that takes runs."""

    __slots__ = ()

    def take_run(
        self,
        sequence: int,
        payload: memoryview,
        size: int,
        out: memoryview,
        now_ns: int,
        timeout_ns: int,
    ) -> list[Verdict]:
        """Packets that follow each other, as take() would take one after the other.

        Args:
            sequence: u32 TCP sequence number of the first byte.
            payload: as on the wire, of all packets one behind the other.
            size: bytes of each packet.
            out: as long as `payload`, not overlapping. The part of a packet is undefined when its
                verdict is not DECRYPTED.
            now_ns, timeout_ns: as take().
        """
        count = len(payload) // size
        verdicts: list[Verdict] = []
        while len(verdicts) < count:
            index = len(verdicts)
            begin = index * size
            in_order = not sequence + begin - self.start_sequence - self.position & SEQUENCE_MASK
            if not in_order or self.state is not State.OFFLOAD or self._key_start is not None:
                verdicts.append(
                    self.take(
                        sequence + begin & SEQUENCE_MASK,
                        payload[begin : begin + size],
                        out[begin : begin + size],
                        now_ns,
                        timeout_ns,
                    )
                )
                continue
            inside = min((self._fast_end - 1 - self.position) // size, count - index)
            if inside > 0:
                self._pass_packets(payload, out, begin, inside * size, inside)
                verdicts += [DECRYPTED] * inside
                continue
            verdicts += self._pass_records(payload, size, out, index, now_ns)
        return verdicts

    def _pass_packets(
        self, payload: memoryview, out: memoryview, begin: int, size: int, count: int
    ) -> None:
        """`count` packets inside a record that is decrypted by a stream."""
        stream = self._stream
        assert stream is not None
        end = begin + size
        stream.update(payload[begin:end], out[begin:end])
        self.position += size
        self._count(count, size)

    def _pass_records(
        self,
        payload: memoryview,
        size: int,
        out: memoryview,
        index: int,
        now_ns: int,
    ) -> list[Verdict]:
        """Packet `index`, in which a record ends or begins, and those that end with it whole
        records of the run."""
        begin = index * size
        origin = self.position
        segment = Segment(payload[begin : begin + size], out[begin : begin + size], origin, 0)
        at = 0
        if self._head is None or self._end is not None:
            at = self._step(segment, 0)
            self.position = max(self.position, origin + at)
        ends: list[int] = []
        if at < size and self.state is State.OFFLOAD and self._head == b"" and self._end is None:
            ends = self._open_records(payload, out, begin + at)
        last = ends[-1] // size if ends else index
        counts = [0] * (last - index + 1)
        for end in ends:
            # A record ends in the packet that has its last byte.
            counts[(end - 1) // size - index] += 1
        segment.records += counts[0]
        verdicts: list[Verdict] = []
        if last > index:
            verdicts.append(self._conclude(segment, now_ns))
            between = counts[1:-1]
            verdicts += [_DECRYPTED[min(records, MOST_RECORDS)] for records in between]
            self._count(len(between), len(between) * size)
            begin = last * size
            if begin == len(payload):
                return verdicts
            origin += (last - index) * size
            segment = Segment(payload[begin : begin + size], out[begin : begin + size], origin, 0)
            segment.records = counts[-1]
        segment.new = ends[-1] - begin if ends else at
        self._follow(segment)
        verdicts.append(self._conclude(segment, now_ns))
        return verdicts

    def _open_records(self, payload: memoryview, out: memoryview, at: int) -> list[int]:
        """Open whole records from offset `at` of the run on, where one starts; where they end."""
        parse, open_record, total_bytes = self.format.parse, self._opener.open, len(payload)
        prefix_bytes, is_tls13 = self._prefix_bytes, self._is_tls13
        ends: list[int] = []
        while at + prefix_bytes <= total_bytes and self.number <= NUMBER_MASK:
            try:
                record = parse(self.number, payload, at)
            except BadRecord:
                break
            _, prefix, content_bytes, _, size = record
            end = at + size
            if end > total_bytes:
                break
            body = at + prefix_bytes
            tag = body + content_bytes
            content = out[body:tag]
            if not open_record(record, payload[body:end], content):
                break
            if is_tls13 and content[0] in AFTER_HANDSHAKE:
                break
            out[at:body] = prefix
            out[tag:end] = payload[tag:end]
            self._note_header()
            self.number += 1
            self._start += size
            ends.append(end)
            at = end
        self.position = self._start
        return ends

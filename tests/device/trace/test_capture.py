"""Capture files: which record goes where, what is left out, what is said about frames."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from tlsnic.abi.enums import (
    DeviceInput,
    DmaPurpose,
    QueueKind,
    TlsDirection,
    TlsEvent,
    TlsOutcome,
    TlsTrackerState,
    TraceFlags,
)
from tlsnic.abi.structures import (
    TraceDmaRead,
    TraceDmaWrite,
    TraceFrame,
    TraceInput,
    TraceInterrupt,
    TraceRegisterRead,
    TraceRegisterWrite,
    TraceTlsEvent,
    TraceTlsPacket,
)
from tlsnic.device.core.counters import Counters
from tlsnic.device.trace.capture import NAMES, CaptureFile, open_capture
from tlsnic.device.trace.comments import MAX_REMARKS, SENT_PACKETS
from tlsnic.device.wire import CapturedFrame, Direction, PcapngReader, WireError

LOCAL, REMOTE = "10.0.0.1", "10.0.0.2"
LOCAL6, REMOTE6 = "fd00::1", "fd00::2"
EPOCH_NS = 10**18
HANDLE = 0x40001
KEY = bytes(range(0x60, 0x80))


def address(text: str) -> bytes:
    layer = IPv6(src=text) if ":" in text else IP(src=text)
    raw = bytes(layer)
    return raw[8:24] if ":" in text else raw[12:16].ljust(16, b"\0")


def created(direction: TlsDirection, handle: int = HANDLE, version: int = 4) -> TraceTlsEvent:
    near, far = (LOCAL, REMOTE) if version == 4 else (LOCAL6, REMOTE6)
    return TraceTlsEvent(
        handle=handle, event=TlsEvent.CREATED, direction=direction, ip_version=version,
        local_port=443, remote_port=50_000, local_address=address(near),
        remote_address=address(far),
    )  # fmt: skip


def segment(
    sequence: int, payload: bytes = b"x" * 100, *, sent: bool = False, version: int = 4
) -> bytes:
    """A frame of the flow; from the other side unless `sent`."""
    ends = (LOCAL, REMOTE) if version == 4 else (LOCAL6, REMOTE6)
    ports = (443, 50_000)
    if not sent:
        ends, ports = ends[::-1], ports[::-1]
    ip = (IP if version == 4 else IPv6)(src=ends[0], dst=ends[1])
    tcp = TCP(sport=ports[0], dport=ports[1], seq=sequence, flags="A")
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ip / tcp / payload)


def verdict(
    sequence: int, length: int = 100, outcome: TlsOutcome = TlsOutcome.DECRYPTED, **more: int
) -> TraceTlsPacket:
    values = {
        "handle": HANDLE,
        "direction": TlsDirection.RECEIVE,
        "tracker_state": TlsTrackerState.OFFLOAD,
        "record_number": 17,
        **more,
    }
    return TraceTlsPacket(tcp_sequence=sequence, length=length, outcome=outcome, **values)


def frame_of(data: bytes, **more: int) -> TraceFrame:
    return TraceFrame(**{"length": len(data), "taken": 1, **more})


class Recording:
    """A capture file that is written to, and read back."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path = path
        self.file = CaptureFile(str(path), epoch_ns=EPOCH_NS, **options)

    def arrive(self, *frames: bytes) -> None:
        self.file.put(TraceInput(input=DeviceInput.RECEIVE, argument=len(frames)))
        for data in frames:
            self.file.put(frame_of(data), data)

    def send(self, data: bytes, **more: int) -> None:
        self.file.put(frame_of(data, **{"outbound": 1, **more}), data)

    def packets(self) -> list[CapturedFrame]:
        self.file.flush()
        return list(PcapngReader(io.BytesIO(self.path.read_bytes()), "test"))

    def comments(self) -> list[str]:
        """Of the frames."""
        return [packet.comment for packet in self.packets() if packet.interface == "wire"]


@pytest.fixture
def capture(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "c.pcapng")


def test_each_kind_of_record_has_its_interface_and_direction(capture: Recording) -> None:
    memory = {"length": 16, "address": 4096}
    puts = [
        (TraceInput(input=DeviceInput.START), b"", "device", Direction.INBOUND),
        (TraceRegisterRead(bar=0, width=4, value=7), b"", "registers", Direction.OUTBOUND),
        (TraceRegisterWrite(bar=2, width=4), b"", "registers", Direction.INBOUND),
        (TraceDmaRead(**memory), bytes(16), "dma", Direction.INBOUND),
        (TraceDmaWrite(**memory), bytes(16), "dma", Direction.OUTBOUND),
        (
            TraceDmaWrite(**memory, purpose=DmaPurpose.COMPLETION, kind=QueueKind.EVENT),
            bytes(16), "completions", Direction.OUTBOUND,
        ),
        (TraceInterrupt(vector=1, msix=1), b"", "interrupts", Direction.OUTBOUND),
        (verdict(1), b"", "tls", Direction.UNKNOWN),
        (created(TlsDirection.RECEIVE), b"", "tls", Direction.UNKNOWN),
        (TraceInput(input=DeviceInput.MARK), b"here", "device", Direction.INBOUND),
    ]  # fmt: skip
    for number, (record, data, _, _) in enumerate(puts):
        capture.file.put(record._replace(now_ns=number), data)
    packets = capture.packets()
    assert [(p.interface, p.direction) for p in packets] == [put[2:] for put in puts]
    assert [p.timestamp_ns for p in packets] == [EPOCH_NS + n for n in range(len(puts))]
    assert [p.data for p in packets] == [
        record._replace(now_ns=number).pack() + data
        for number, (record, data, _, _) in enumerate(puts)
    ]
    assert {p.link_type for p in packets} == {147}


def test_frames_are_ethernet_and_refused_ones_are_not_there(capture: Recording) -> None:
    came, sent = segment(1), segment(2, sent=True)
    capture.arrive(came)
    capture.send(sent, taken=0)
    capture.send(sent)
    packets = capture.packets()
    assert [(p.interface, p.link_type, p.direction, p.data) for p in packets] == [
        ("wire", 1, Direction.INBOUND, came),
        ("wire", 1, Direction.OUTBOUND, sent),
    ]


def test_housekeeping_is_left_out(capture: Recording) -> None:
    for value in DeviceInput:
        capture.file.put(TraceInput(input=value))
    kept = [struct.unpack_from("<H", p.data, 16)[0] for p in capture.packets()]
    assert kept == [
        DeviceInput.START, DeviceInput.LINK, DeviceInput.RESET, DeviceInput.REPORT,
        DeviceInput.PCI, DeviceInput.WIRE, DeviceInput.MARK,
    ]  # fmt: skip


def test_only_chosen_interfaces_are_written(tmp_path: Path) -> None:
    capture = Recording(tmp_path / "c.pcapng", only=["wire", "interrupts"])
    capture.file.put(created(TlsDirection.RECEIVE))
    capture.arrive(segment(5))
    capture.file.put(verdict(5))
    capture.file.put(TraceDmaWrite(length=4), b"1234")
    capture.file.put(TraceInterrupt(vector=1))
    capture.file.put(TraceRegisterRead())
    packets = capture.packets()
    assert [p.interface for p in packets] == ["wire", "interrupts"]
    assert "decrypted" in packets[0].comment


@pytest.mark.parametrize("name", NAMES)
def test_each_interface_alone(tmp_path: Path, name: str) -> None:
    capture = Recording(tmp_path / "c.pcapng", only=[name])
    capture.file.put(TraceInput(input=DeviceInput.MARK), b"text")
    capture.file.put(created(TlsDirection.RECEIVE))
    capture.arrive(segment(5))
    capture.file.put(TraceDmaWrite(length=1), b"1")
    capture.file.put(TraceDmaWrite(length=1, purpose=DmaPurpose.COMPLETION), b"1")
    capture.file.put(TraceInterrupt(vector=1))
    capture.file.put(TraceRegisterWrite())
    assert [p.interface for p in capture.packets()] == [name]


def test_packet_data_is_cut_and_the_rest_is_whole(tmp_path: Path) -> None:
    capture = Recording(tmp_path / "c.pcapng", snap_bytes=20)
    for purpose in DmaPurpose:
        capture.file.put(TraceDmaRead(length=100, purpose=purpose), memoryview(bytes(100)))
    packets = capture.packets()
    assert [len(p.data) - TraceDmaRead.SIZE for p in packets] == [20, 100, 100, 100]
    assert {p.original_bytes for p in packets} == {TraceDmaRead.SIZE + 100}
    flags = [TraceDmaRead.unpack_from(p.data).flags for p in packets]
    assert flags == [TraceFlags.TRUNCATED, 0, 0, 0]


def test_secret_bytes_are_left_out_even_if_they_come(capture: Recording) -> None:
    assert not capture.file.takes_secrets
    record = TraceDmaRead(length=176, purpose=DmaPurpose.BLOCK, flags=int(TraceFlags.SECRET))
    capture.file.put(record, KEY * 5 + bytes(16))
    capture.file.put(record)
    for packet in capture.packets():
        assert len(packet.data) == TraceDmaRead.SIZE
        assert packet.original_bytes == TraceDmaRead.SIZE + 176
        flags = TraceDmaRead.unpack_from(packet.data).flags
        assert flags == TraceFlags.SECRET | TraceFlags.TRUNCATED
    assert KEY not in capture.path.read_bytes()


def test_data_may_change_after_the_call(capture: Recording) -> None:
    buffer = bytearray(segment(1))
    want = bytes(buffer)
    capture.file.put(TraceInput(input=DeviceInput.RECEIVE))
    capture.file.put(frame_of(want), memoryview(buffer))
    capture.file.put(TraceDmaWrite(length=8), memoryview(buffer)[:8])
    buffer[:] = bytes(len(buffer))
    packets = capture.packets()
    assert packets[0].data == want
    assert packets[1].data[-8:] == want[:8]


# What is said about frames ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_a_frame_that_came_has_the_verdict_that_follows(capture: Recording, version: int) -> None:
    capture.file.put(created(TlsDirection.RECEIVE, version=version))
    frames = [segment(number * 100, version=version) for number in range(3)]
    capture.arrive(*frames)
    for number in range(2):
        capture.file.put(TraceDmaWrite(length=100), bytes(100))
        capture.file.put(verdict(number * 100, records=number))
    capture.file.put(verdict(200, outcome=TlsOutcome.AUTH_FAILED, tracker_state=4))
    assert capture.comments() == [
        "flow 0x40001 rx: decrypted; OFFLOAD, record 17",
        "flow 0x40001 rx: decrypted, 1 record ended; OFFLOAD, record 17",
        "flow 0x40001 rx: authentication failed; HALTED, record 17",
    ]
    order = [packet.interface for packet in capture.packets()]
    assert order == ["tls", "wire", "wire", "wire", "dma", "tls", "dma", "tls", "tls"]


def test_the_same_bytes_twice_in_one_input_have_a_verdict_each(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.RECEIVE))
    capture.arrive(segment(7), segment(7), segment(8, b""))
    capture.file.put(verdict(7))
    capture.file.put(verdict(7, outcome=TlsOutcome.AS_ON_WIRE))
    capture.file.put(verdict(8, 0, outcome=TlsOutcome.AS_ON_WIRE))
    assert [text.partition("; ")[0] for text in capture.comments()] == [
        "flow 0x40001 rx: decrypted",
        "flow 0x40001 rx: as on the wire",
        "flow 0x40001 rx: as on the wire",
    ]


def test_a_super_frame_has_the_verdicts_of_its_parts(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.RECEIVE))
    data = segment(0xFFFF_FF00, b"y" * 1000)
    capture.file.put(TraceInput(input=DeviceInput.RECEIVE))
    capture.file.put(frame_of(data, has_work=1, gso_type=1, gso_size=250, work_flags=1), data)
    for part in range(4):
        sequence = 0xFFFF_FF00 + 250 * part & 0xFFFF_FFFF
        capture.file.put(verdict(sequence, 250, record_number=part))
    (comment,) = capture.comments()
    assert comment.splitlines() == [
        "super-frame, 250 bytes a segment, checksum undone",
        *(f"flow 0x40001 rx: decrypted; OFFLOAD, record {part}" for part in range(4)),
    ]


def test_questions_and_halts_are_told_where_they_are(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.RECEIVE))
    capture.arrive(segment(100), segment(200))
    asked = TraceTlsEvent(handle=HANDLE, event=TlsEvent.ASKED, tcp_sequence=250, question=3)
    capture.file.put(asked)
    capture.file.put(verdict(100, outcome=TlsOutcome.AS_ON_WIRE, tracker_state=3))
    capture.file.put(verdict(200, outcome=TlsOutcome.AS_ON_WIRE, tracker_state=3))
    capture.file.put(asked._replace(event=TlsEvent.HALTED, tcp_sequence=100))
    capture.file.put(asked._replace(tcp_sequence=5000))  # before what is held
    first, second = capture.comments()
    assert first.splitlines()[-1] == "halted: TLS_AUTH"
    assert second.splitlines()[0] == "question 3: is there a record at 250?"
    assert "5000" not in first + second


def test_nothing_is_said_once_the_input_is_over(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.RECEIVE))
    capture.arrive(segment(100))
    capture.file.put(TraceRegisterRead())
    capture.file.put(verdict(100))
    assert capture.comments() == [""]


def test_frames_of_no_flow_and_of_gone_flows_have_no_comment(capture: Recording) -> None:
    capture.arrive(segment(1))
    capture.file.put(created(TlsDirection.RECEIVE))
    udp = bytes(Ether() / IP() / b"abc")
    capture.arrive(udp, segment(1, sent=True), b"short")
    for event in (TlsEvent.DESTROYED, TlsEvent.RESET):
        capture.file.put(created(TlsDirection.RECEIVE))
        capture.file.put(TraceTlsEvent(handle=HANDLE, event=event))
        capture.arrive(segment(1))
        capture.file.put(verdict(1))
    assert capture.comments() == [""] * 6


def test_a_tagged_frame_is_of_its_flow(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.RECEIVE))
    frame = Ether(segment(9))
    tagged = bytes(Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=5) / frame.payload)
    capture.arrive(tagged)
    capture.file.put(verdict(9))
    assert "decrypted" in capture.comments()[0]


def test_frames_that_leave_have_what_was_done_before(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.TRANSMIT))
    tx = {"direction": TlsDirection.TRANSMIT, "tracker_state": 0}
    capture.file.put(verdict(1000, 300, TlsOutcome.ENCRYPTED, **tx))
    for sequence in (1000, 1100, 1200):
        capture.send(segment(sequence, sent=True))
    capture.file.put(verdict(1100, 100, TlsOutcome.PRESYNCED, **tx))
    capture.send(segment(1100, sent=True))
    capture.send(segment(1200, sent=True))
    capture.send(segment(1300, b"", sent=True))
    capture.send(segment(900, sent=True))
    encrypted = "flow 0x40001 tx: encrypted; record 17"
    assert capture.comments() == [
        *[encrypted] * 3,
        "flow 0x40001 tx: encrypted out of order; record 17",
        encrypted,
        "",
        "",
    ]


def test_what_is_known_about_a_flow_is_bounded(capture: Recording) -> None:
    capture.file.put(created(TlsDirection.TRANSMIT))
    for number in range(SENT_PACKETS + 1):
        capture.file.put(verdict(number * 100, direction=0))
    capture.send(segment(0, sent=True))
    capture.send(segment(100, sent=True))
    assert [bool(text) for text in capture.comments()] == [False, True]
    capture.file.put(created(TlsDirection.RECEIVE, handle=2))
    capture.arrive(segment(0, b"z" * 1400))
    for number in range(50):
        capture.file.put(verdict(number, 1, handle=2, record_number=number))
    assert len(capture.comments()[-1].splitlines()) == MAX_REMARKS


def test_dropped_frames_say_why(capture: Recording) -> None:
    counters = Counters()
    capture.file.watch(0, counters)
    capture.arrive(segment(1), segment(2))
    counters.rx_drop_no_buffer += 2
    capture.file.put(TraceInput(input=DeviceInput.POLL))
    capture.arrive(segment(1), segment(2), segment(3))
    counters.rx_drop_filter += 1
    counters.rx_drop_runt += 1
    capture.file.put(TraceInput(input=DeviceInput.POLL))
    capture.arrive(segment(4))
    assert capture.comments() == [
        "dropped: RX_DROP_NO_BUFFER",
        "dropped: RX_DROP_NO_BUFFER",
        "",
        "",
        "of the 3 frames up to here were dropped: 1 RX_DROP_FILTER, 1 RX_DROP_RUNT",
        "",
    ]


def test_counters_cleared_by_a_reset_say_nothing(capture: Recording) -> None:
    counters = Counters()
    counters.rx_drop_filter = 9
    capture.file.watch(0, counters)
    capture.arrive(segment(1))
    counters.clear()
    assert capture.comments() == [""]


def test_flows_of_two_cards_are_told_apart(capture: Recording) -> None:
    for card in (0, 1):
        capture.file.put(created(TlsDirection.RECEIVE)._replace(card=card))
    data = segment(5)
    capture.file.put(TraceInput(card=1, input=DeviceInput.RECEIVE))
    capture.file.put(frame_of(data, card=1), data)
    capture.file.put(verdict(5)._replace(card=0))
    capture.file.put(verdict(5, outcome=TlsOutcome.AS_ON_WIRE)._replace(card=1))
    assert [text.partition(";")[0] for text in capture.comments()] == [
        "flow 0x40001 rx: as on the wire"
    ]


# The file -----------------------------------------------------------------------------------------


def test_the_file_is_its_owners_and_counts_what_is_in_it(capture: Recording) -> None:
    assert capture.path.stat().st_mode & 0o777 == 0o600
    capture.arrive(segment(1))
    capture.file.put(TraceDmaWrite(length=1), b"1")
    assert capture.file.packets == 2
    capture.file.close()
    assert capture.file.size_bytes == capture.path.stat().st_size
    assert capture.file.closed
    capture.file.close()
    assert len(list(PcapngReader(io.BytesIO(capture.path.read_bytes()), "test"))) == 2


def test_what_comes_before_the_clock_has_the_time_of_the_first_input(tmp_path: Path) -> None:
    path, now_ns = tmp_path / "c.pcapng", 10**15
    before_ns = time.time_ns()
    file = CaptureFile(str(path))
    file.put(TraceInput(input=DeviceInput.START))
    file.put(TraceInput(input=DeviceInput.LINK))
    assert file.packets == 2
    file.put(TraceInput(input=DeviceInput.ADVANCE, now_ns=now_ns))
    file.put(TraceInterrupt(now_ns=now_ns + 5))
    file.close()
    times = [p.timestamp_ns for p in PcapngReader(io.BytesIO(path.read_bytes()), "test")]
    assert before_ns <= times[0] <= time.time_ns()
    assert [when - times[0] for when in times] == [0, 0, 5]


def test_a_capture_without_any_time_is_written_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    file = CaptureFile(str(path))
    file.put(TraceInput(input=DeviceInput.START))
    file.close()
    assert len(list(PcapngReader(io.BytesIO(path.read_bytes()), "test"))) == 1


def test_a_full_disk_ends_the_capture() -> None:
    file = CaptureFile("/dev/full")
    file.put(TraceInterrupt(vector=1))
    with pytest.raises(WireError, match="No space left"):
        file.flush()
    assert file.closed
    file.close()


def test_options_of_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    with_options = open_capture(f"{path},snap=0,only=dma/tls")
    with_options.put(TraceDmaRead(length=4), b"1234")
    with_options.put(TraceInterrupt())
    with_options.close()
    (packet,) = PcapngReader(io.BytesIO(path.read_bytes()), "test")
    assert len(packet.data) == TraceDmaRead.SIZE
    open_capture(str(path)).close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",snap=x", "'snap=x' is no option"),
        (",colour=red", "'colour=red' is no option"),
        (",only=wire/radio", "no interface 'radio'.*choose from wire/registers"),
        (",only=", "'only=' is no option"),
    ],
)
def test_bad_options_say_what_is_possible(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(WireError, match=message):
        open_capture(f"{tmp_path / 'c.pcapng'}{text}")


def test_a_negative_snap_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        CaptureFile(str(tmp_path / "c"), snap_bytes=-1)
    with pytest.raises(WireError, match="cannot write"):
        open_capture(str(tmp_path / "absent" / "c"))

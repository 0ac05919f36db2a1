"""Captures of a card at work: comments agree with its completions, and there are no keys in them."""

import io
import random
import shutil
import subprocess

import pytest
from trace_rig import receive_rig, tls_rig

from tlsnic.abi.enums import DmaPurpose, QueueKind, TlsOutcome, TlsRxState
from tlsnic.abi.generate.build import ABI, ROOT
from tlsnic.abi.structures import (
    TlsFlowCreateCommand,
    TlsPresync,
    TraceDmaRead,
    TraceTlsEvent,
    TraceTlsPacket,
)
from tlsnic.device.trace.capture import CaptureFile
from tlsnic.device.trace.reader import read_trace
from tlsnic.device.trace.tracer import Tracer
from tlsnic.device.wire import PcapngReader

SCRIPT = ROOT / ABI / "lua/tlsnic.lua"
TEXT = {
    TlsRxState.AS_ON_WIRE: "rx: as on the wire",
    TlsRxState.DECRYPTED: "rx: decrypted",
    TlsRxState.AUTH_FAILED: "rx: authentication failed",
}


class Card:
    """A rig's card, whose inputs pass the tracer."""

    def __init__(self, nic, sink):
        self._nic = nic
        self._tracer = Tracer(nic)
        self._tracer.add(sink)

    def __getattr__(self, name):
        core = self._tracer.core
        return getattr(core if hasattr(type(core), name) else self._nic, name)


def captured(rig, path):
    """The rig goes on with a capture."""
    capture = CaptureFile(str(path), epoch_ns=10**18)
    capture.watch(0, rig.nic.counters)
    rig.nic = Card(rig.nic, capture)
    return capture


def frames_of(path):
    return [p for p in PcapngReader(io.BytesIO(path.read_bytes()), "test") if p.interface == "wire"]


def assert_no_keys(path, *streams):
    data = path.read_bytes()
    for stream in streams:
        for secret in filter(None, stream.keys):
            assert len(secret) < 8 or secret not in data


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_comments_say_what_the_completions_say(tmp_path, batch):
    rng = random.Random(batch)
    rig, path = receive_rig.ReceiveRig(), tmp_path / "c.pcapng"
    capture = captured(rig, path)
    sizes = [rng.randint(200, 5000) for _ in range(12)]
    _, wire, handle = receive_rig.begun(*sizes, rig=rig, fields={"tag": True})
    wanted = []
    pieces = [(at, min(at + 700, len(wire))) for at in range(0, len(wire), 700)]
    kept = [piece for piece in pieces if rng.random() > 0.1]
    for first in range(0, len(kept), batch):
        frames = [
            (receive_rig.frame_of(wire, *piece), None) for piece in kept[first : first + batch]
        ]
        rig.nic.receive(frames, rig.now_ns)
        rig.run()
        wanted += [packet.state for packet in rig.packets()]
    capture.close()
    frames = frames_of(path)
    assert len(frames) == len(wanted) == len(kept)
    assert set(wanted) >= {TlsRxState.AS_ON_WIRE, TlsRxState.DECRYPTED}
    for frame, state in zip(frames, wanted, strict=True):
        assert TEXT[state] in frame.comment
        assert f"flow {handle:#x} " in frame.comment
    records = [record.record for record in read_trace(str(path))]
    assert sum(isinstance(record, TraceTlsPacket) for record in records) == len(kept)
    assert_no_keys(path, wire)


def test_a_frame_that_fails_authentication_says_so(tmp_path):
    rig, path = receive_rig.ReceiveRig(), tmp_path / "c.pcapng"
    capture = captured(rig, path)
    _, wire, _ = receive_rig.begun(500, rig=rig)
    wire.wire[300] ^= 1
    rig.receive(receive_rig.frame_of(wire, 0, len(wire)))
    capture.close()
    (frame,) = frames_of(path)
    assert "authentication failed" in frame.comment
    assert "halted: TLS_AUTH" in frame.comment
    assert_no_keys(path, wire)


def test_frames_without_a_buffer_say_that_they_were_dropped(tmp_path):
    rig, path = receive_rig.ReceiveRig(buffers=2), tmp_path / "c.pcapng"
    capture = captured(rig, path)
    _, wire, _ = receive_rig.begun(3000, rig=rig)
    frames = [(receive_rig.frame_of(wire, at, at + 100), None) for at in range(0, 500, 100)]
    rig.nic.receive(frames, rig.now_ns)
    capture.close()
    texts = [frame.comment for frame in frames_of(path)]
    assert ["rx: dropped" in text for text in texts] == [False] * 2 + [True] * 3
    assert texts[-1].endswith("of the 5 frames up to here were dropped: 3 RX_DROP_NO_BUFFER")


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("batch", [1, 8])
def test_each_byte_that_was_followed_and_not_delivered_is_told(tmp_path, batch, joined):
    rig = receive_rig.ReceiveRig(buffers=2, coalesce=4 if joined else None)
    path = tmp_path / "c.pcapng"
    capture = captured(rig, path)
    _, wire, handle = receive_rig.begun(6000, rig=rig)
    frames = [(receive_rig.frame_of(wire, at, at + 500), None) for at in range(0, 6000, 500)]
    for first in range(0, len(frames), batch):
        rig.nic.receive(frames[first : first + batch], rig.now_ns)
    rig.now_ns += 10**9
    rig.run()
    capture.close()
    told = [one.record for one in read_trace(str(path)) if isinstance(one.record, TraceTlsPacket)]
    dropped = [one for one in told if one.outcome == TlsOutcome.DROPPED]
    came = sum(len(packet.payload) for packet in rig.packets())
    assert 0 < came < 6000
    assert sum(one.length for one in dropped) == 6000 - came
    assert {one.handle for one in dropped} == {handle}
    assert sum(one.length for one in told) == 6000 + sum(one.length for one in dropped)


def test_sent_frames_and_retransmits(tmp_path):
    path = tmp_path / "c.pcapng"
    rig, stream, handle = tls_rig.filled(sizes=(100, 3000, 600))
    capture = captured(rig, path)
    rig.send_part(handle, stream, 0, 1400)
    rig.send_part(handle, stream, 1400, 2800)
    rig.send_part(handle, stream, 0, 1400, presync=True)
    capture.close()
    flow = f"flow {handle:#x} tx: "
    texts = [frame.comment.partition(";")[0] for frame in frames_of(path)]
    assert texts == [flow + "encrypted", flow + "encrypted", flow + "encrypted out of order"]
    first = next(r.record for r in read_trace(str(path)) if isinstance(r.record, TraceTlsEvent))
    assert first.handle == handle  # a flow from before the capture is introduced
    reads = [r for r in read_trace(str(path)) if isinstance(r.record, TraceDmaRead)]
    (block,) = [read for read in reads if read.record.purpose == DmaPurpose.BLOCK]
    assert block.record.kind == QueueKind.TRANSMIT
    assert TlsPresync.unpack_from(block.data).tcp_sequence == stream.sequence_at(0)
    assert_no_keys(path, stream)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_names_what_a_card_did(tmp_path):
    rig, path = receive_rig.ReceiveRig(), tmp_path / "c.pcapng"
    capture = captured(rig, path)
    _, wire, handle = receive_rig.begun(3000, 200, rig=rig)
    rig.feed(wire)
    rig.state_of(handle)
    rig.destroy(handle)
    capture.close()
    command = ["tshark", "-n", "-r", str(path), "-X", f"lua_script:{SCRIPT}", "-T", "fields"]
    for name in ("frame.interface_name", "tlsnic.dma.structure", "_ws.lua.error", "_ws.col.Info"):
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert not any(row[2] for row in rows)
    found = {row[1] for row in rows if row[1]}
    assert {
        TlsFlowCreateCommand.NAME, "tls_flow_query_command", "tls_flow_destroy_command", "response",
        "tls_flow_state", "rx_descriptor", "rx_completion",
    } <= found  # fmt: skip
    texts = "\n".join(row[3] for row in rows)
    assert ", block: key material" in texts
    assert f"flow {handle:#x} receive CREATED" in texts
    assert f"flow {handle:#x} receive DESTROYED" in texts
    assert_no_keys(path, wire)

"""No method, error or event of the control socket shows a byte of a key, in any form."""

import base64
import binascii
import contextlib
import itertools
import json
import re

import pytest
from receive_rig import ReceiveRig, frame_of, stream_of
from record_bench import AEAD_CASES, CASES
from stream_bench import Stream

from tlsnic.abi.enums import TraceFlags
from tlsnic.device.control import METHODS, ControlError
from tlsnic.device.control.faults import FAULTS

WINDOW = 6
"""Bytes of a secret that must not be found in a row; of shorter secrets, all."""


class Listener:
    """A client that keeps all events."""

    def __init__(self):
        self.events = []

    def send_event(self, event):
        self.events.append(event)
        return True

    def when_closed(self, callback):
        self.callback = callback


def leaves(value):
    """All texts and numbers in a JSON value, names too; lists of bytes as one."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from leaves(item)
    elif isinstance(value, list):
        if value and all(isinstance(item, int) and 0 <= item < 256 for item in value):
            yield bytes(value)
        for item in value:
            yield from leaves(item)
    else:
        yield value


def readings(leaf):
    """All that a leaf can be read as."""
    if isinstance(leaf, bytes):
        yield leaf
    elif isinstance(leaf, str):
        yield leaf.encode("utf-8", "surrogatepass")
        with contextlib.suppress(UnicodeEncodeError):
            yield leaf.encode("latin-1")
        for run in re.findall(r"[0-9a-fA-F]{8,}", leaf.replace(":", "").replace(" ", "")):
            for shift in (0, 1):
                even = run[shift : shift + (len(run) - shift) // 2 * 2]
                yield bytes.fromhex(even)
        for run in re.findall(r"[A-Za-z0-9+/_-]{8,}", leaf):
            with contextlib.suppress(binascii.Error):
                yield base64.urlsafe_b64decode(run.replace("+", "-").replace("/", "_") + "===")
    elif isinstance(leaf, int) and not isinstance(leaf, bool):
        for order in ("little", "big"):
            yield leaf.to_bytes(max(1, (abs(leaf).bit_length() + 8) // 8), order, signed=True)


def found(value, secrets):
    """Secrets that are in `value`, in part or whole."""
    hay = b"\xff\xff\xff".join(set(itertools.chain.from_iterable(map(readings, leaves(value)))))
    return [
        secret
        for secret in secrets
        if any(secret[at : at + WINDOW] in hay for at in range(max(1, len(secret) - WINDOW + 1)))
    ]


@pytest.fixture
def secrets():
    return []


@pytest.fixture
def rig(secrets):
    """A card with flows of all suites in both directions, some of them rekeyed."""
    rig = ReceiveRig()
    ports = itertools.count(1000)

    def note(stream):
        secrets.extend(bytes(secret) for secret in stream.keys if len(secret) >= 4)

    for number, case in enumerate(CASES):
        stream = Stream(case, seed=number)
        note(stream)
        handle = rig.create(stream, local_port=next(ports), rate=1000 * (number % 2))
        if number % 3 == 0:
            later = Stream(case, seed=500 + number)
            note(later)
            later_start = stream.sequence_at(0)
            rig.rekey(handle, later, tcp_sequence=later_start)
    for number, case in enumerate(AEAD_CASES):
        wire = stream_of(case=case, seed=100 + number)
        note(wire)
        handle = rig.receive_flow(wire, local_port=next(ports))
        for _ in range(6):
            wire.add(700)
        options = {"local_port": next(ports) - 1}
        ports = itertools.count(options["local_port"] + 1)
        for begin, end in ((0, 1000), (2500, 3500)):
            rig.receive(frame_of(wire, begin, end, **options))
    rig.packets()
    return rig


def test_the_search_finds_keys_in_every_form():
    key = bytes(range(0x81, 0xA1))
    for shown in (
        key.hex(),
        key.hex().upper(),
        key.hex(":"),
        "x" + key[3:11].hex(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        list(key),
        key.decode("latin-1"),
        int.from_bytes(key[:8], "little"),
        int.from_bytes(key[9:17], "big"),
        {"a": [{key.hex(): None}]},
    ):
        assert found(json.loads(json.dumps({"result": [shown]})), [key]) == [key], shown
    assert found({"x": ["something else", 7, -1, True, None, 1.5]}, [key]) == []


def test_no_method_shows_a_key(rig, inspector, secrets, tmp_path):
    listener = Listener()
    assert len(rig.nic.flows) == len(CASES) + len(AEAD_CASES)
    handles = [flow.handle for flow in rig.nic.flows]
    calls = {
        "device.mark": [{"text": "x"}],
        "registers.values": [{"all": True}],
        "registers.read": [{"offset": 0}],
        "registers.write": [{"offset": 0x4C, "value": 1514}],
        "queues.show": [
            {"kind": queue.kind.name, "number": queue.number, "first": 0, "count": 1024}
            for queue in rig.nic.queues
        ],
        "flows.list": [{}, {"count": 4096}],
        "flows.show": [{"handle": handle} for handle in handles] + [{"handle": 1}],
        "flows.history": [{"handle": handle} for handle in handles],
        "resync.log": [{"count": 256}],
        "diagnostics.list": [{"count": 256}],
        "impairments.set": [{"settings": {"loss": "1%"}}],
        "faults.set": [{"name": name} for name in FAULTS],
        "trace.start": [{"snap": 65536}],
        "capture.start": [{"path": str(tmp_path / "run.pcapng")}],
    }
    order = sorted(
        METHODS.values(), key=lambda method: (method.name == "device.reset", method.name)
    )
    inspector.call("trace.start", {"snap": 65536}, listener)
    case = Stream(CASES[0], seed=999)
    secrets.extend(bytes(secret) for secret in case.keys if len(secret) >= 4)
    nic, rig.nic = rig.nic, inspector.cards[0].core  # the block is read while the trace looks on
    rig.create(case, local_port=7)
    rig.nic = nic
    shown = []
    for method in order:
        for params in calls.get(method.name, [{}]):
            try:
                shown.append(inspector.call(method.name, params, listener))
            except ControlError as error:
                shown.append(error.as_json())
    inspector.cards[0].tracer.flush()
    assert len(shown) > 100
    assert len(secrets) > 60
    everything = json.loads(json.dumps([shown, listener.events]))
    flags = [
        int(record["bytes"][6:8], 16) for event in listener.events for record in event["records"]
    ]
    assert TraceFlags.SECRET in flags  # the trace has seen that there was a block with keys
    assert found(everything, secrets) == []

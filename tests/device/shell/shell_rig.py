"""A backend that answers from tables, and a shell whose output can be looked at."""

import io
import json

from tlsnic.abi import registers as r
from tlsnic.abi import structures as s
from tlsnic.abi.enums import DmaPurpose, QueueKind, TlsEvent, TlsOutcome, TraceFlags, TxFlags
from tlsnic.device.shell.arguments import split
from tlsnic.device.shell.errors import GoneError, ShellError
from tlsnic.device.shell.render import Output
from tlsnic.device.shell.shell import Shell
from tlsnic.device.shell.table import COMMANDS

KEY = bytes(range(0xA0, 0xB0))
"""Would be the key of the fake's flow; nothing may ever show it."""
SECOND = 1_000_000_000

FLOW = {
    "handle": 0x10001,
    "direction": "RECEIVE",
    "suite": "TLS13_AES_128_GCM",
    "tls_version": 0x0304,
    "local": "10.77.0.1:443",
    "remote": "10.77.0.2:40000",
    "vlan_id": None,
    "state": "TRACK",
    "tcp_sequence": 4_000_000_000,
    "record_number": 17,
    "packets": 90,
    "payload_bytes": 120_000,
    "out_of_order": 3,
    "not_offloaded": 10,
}
SENDING = {
    **FLOW,
    "handle": 0x20002,
    "direction": "TRANSMIT",
    "state": "SENDING",
    "suite": "TLS12_CHACHA20_POLY1305",
    "packets": 0,
    "not_offloaded": 0,
    "remote": "[2001:db8:1111:2222:3333:4444:5555:6666]:40001",
    "local": "[2001:db8:1111:2222:3333:4444:5555:7777]:443",
}
QUEUE = {
    "kind": "TRANSMIT",
    "number": 0,
    "state": "RUNNING",
    "error": None,
    "error_address": None,
    "vector": 1,
    "entries": 256,
    "head": 7,
    "tail": 9,
    "pending": 2,
    "completion_entries": 512,
    "producer": 7,
    "consumer": 6,
    "not_taken": 1,
    "armed": True,
    "waits_for": "the wire: it is busy",
}
QUEUES = [
    {**QUEUE, "kind": "ADMIN", "vector": 0, "entries": 32, "waits_for": "nothing"},
    {**QUEUE, "kind": "EVENT", "entries": 0, "waits_for": "nothing"},
    QUEUE,
    {
        **QUEUE,
        "kind": "RECEIVE",
        "state": "ERROR",
        "error": "DMA_FAULT",
        "error_address": 0xDEAD000,
        "waits_for": "the driver: clear ENABLE",
    },
    {**QUEUE, "kind": "RECEIVE", "number": 1, "state": "DISABLED", "waits_for": "nothing"},
]
RINGS = {
    "TRANSMIT": (
        s.TxDescriptor(0x1000, 1514, int(TxFlags.END_OF_PACKET | TxFlags.TLS), 0, 0x20002),
        s.TxCompletion(head=7, flags=0x8000),
    ),
    "RECEIVE": (
        s.RxDescriptor(0x2000, 2048),
        s.RxCompletion(length=1514, flow=0x10001, tls_state=2, flags=0x8104),
    ),
    "ADMIN": (
        s.TlsFlowQueryCommand(opcode=0x101, handle=0x10001),
        s.Response(opcode=0x101, flags=0x8000),
    ),
    "EVENT": (
        None,
        s.ResyncRequestEvent(
            type=4, handle=0x10001, tcp_sequence=4_000_000_100, question=5, flags=0x8000
        ),
    ),
}
FAULT = {
    "name": "swallow_interrupts",
    "what": "The next interrupts do not come.",
    "seen": "Completions without an interrupt.",
    "must": "Look at the rings after a while.",
    "params": [{"name": "count", "kind": "integer", "what": "how many", "default": 1}],
    "on": False,
    "setting": None,
    "acted": 3,
    "left": None,
}
ON = {"on": True, "setting": {"count": 5}, "acted": 3, "left": 2}
FAULTS = [FAULT, {**FAULT, "name": "drop_frames", "what": "The next frames are lost.", **ON}]


def config_space():
    """256 bytes of a function as the card has them, with a driver attached."""
    words = (
        "34125c7106041000010000020000000004000000010000000400000001000000"
        "0400000001000000000000003412010000000000400000000000000000010000"
        "0148030008000000108402000180001000000000030100000000030100000000"
        "000000000000000000000000100000000000000000e000000300000000000000"
    )
    data = bytearray(bytes.fromhex(words))
    data[0x70:0x90] = bytes.fromhex(
        "000000000e0000000300000000000000000000001100 3f80040000000408 0000".replace(" ", "")
    )
    return bytes(data).ljust(4096, b"\0")


def trace_items():
    """One record of each type, as trace events have them."""
    flags = int(TraceFlags.SECRET)
    records = [
        (s.TraceRegisterRead(now_ns=SECOND, bar=0, width=4, offset=r.STATUS, value=0x10003), b""),
        (s.TraceRegisterWrite(now_ns=SECOND + 1000, bar=2, width=4, offset=0, value=9), b""),
        (
            s.TraceDmaRead(
                now_ns=SECOND + 2000,
                address=0x100000,
                length=32,
                kind=int(QueueKind.TRANSMIT),
                purpose=int(DmaPurpose.DESCRIPTOR),
            ),
            RINGS["TRANSMIT"][0].pack(),
        ),
        (
            s.TraceDmaRead(
                flags=flags,
                now_ns=SECOND + 2500,
                address=0x200000,
                length=16,
                kind=int(QueueKind.ADMIN),
                purpose=int(DmaPurpose.BLOCK),
            ),
            KEY,
        ),
        (
            s.TraceDmaWrite(
                now_ns=SECOND + 3000, address=0x3000, length=1514, purpose=int(DmaPurpose.DATA)
            ),
            b"\x02" * 64,
        ),
        (s.TraceInterrupt(now_ns=SECOND + 4000, vector=3, msix=1), b""),
        (
            s.TraceTlsPacket(
                now_ns=SECOND + 5000,
                handle=0x10001,
                tcp_sequence=5,
                length=1448,
                direction=1,
                outcome=int(TlsOutcome.DECRYPTED),
                tracker_state=1,
                records=2,
                record_number=17,
            ),
            b"",
        ),
        (
            s.TraceTlsEvent(
                now_ns=SECOND + 6000,
                handle=0x10001,
                event=int(TlsEvent.ASKED),
                old_state=2,
                new_state=3,
                question=5,
            ),
            b"",
        ),
        (
            s.TraceTlsEvent(
                now_ns=SECOND + 6500,
                handle=0x20002,
                event=int(TlsEvent.CREATED),
                ip_version=4,
                local_port=443,
                remote_port=40000,
                local_address=bytes([10, 77, 0, 1]).ljust(16, b"\0"),
                remote_address=bytes([10, 77, 0, 2]).ljust(16, b"\0"),
            ),
            b"",
        ),
        (s.TraceInput(now_ns=SECOND + 7000, input=12), b"here"),
        (s.TraceFrame(now_ns=SECOND + 8000, length=60, outbound=1, taken=1), b"\x02" * 60),
    ]
    return [{"bytes": record.pack().hex(), "data": data.hex()} for record, data in records]


class FakeBackend:
    """A device with two cards. `calls` has what was asked, `values` the registers."""

    name = "/run/fake.control"

    def __init__(self):
        self.cards = [
            {
                "card": number,
                "socket": f"/run/{number}.sock",
                "wire": "null",
                "mac": f"02::{number}",
            }
            for number in range(2)
        ]
        self.calls = []
        self.values = {}
        for bar, register_map in ((0, r.BAR0), (2, r.BAR2)):
            for register in register_map.registers:
                for index in range(register.array_count):
                    self.values[bar, register.address(index)] = register.reset
        self.values[0, r.CONTROL] = 2
        self.values[0, r.STATUS] = 0x10003
        self.now_ns = SECOND
        self.counters = {"TX_FRAMES": 1000, "RX_DROP_FILTER": 0, "RX_TLS_ERR": 1}
        self.gone = False
        self.interrupt_at = None
        self.traced = 0
        self.pending = []
        self.impairments = {"tx": None, "rx": None, "counters": {"rx": {"lost": 0}}}
        self.answers = {}

    def call(self, method, params):
        params = dict(params)
        self.calls.append((method, dict(params)))
        if self.gone:
            raise GoneError("the device at /run/fake.control is gone", "start it again")
        if self.interrupt_at == method:
            raise KeyboardInterrupt
        if method in self.answers:
            return self.answers[method]
        params.pop("card")
        handler = getattr(self, "_" + method.replace(".", "_"), None)
        if handler is None:
            raise ShellError("UNKNOWN_METHOD", f"no method {method}")
        # As from a socket: nothing that is not JSON, and no object shared with the fake.
        return json.loads(json.dumps(handler(**params)))

    def events(self, timeout_s):
        if self.gone:
            raise GoneError("the device at /run/fake.control is gone", "start it again")
        if self.interrupt_at == "events" and not self.pending:
            raise KeyboardInterrupt
        events, self.pending = self.pending, []
        return events

    def close(self):
        pass

    def _device_info(self):
        return {
            "version": "0.1.0",
            "pid": 7,
            "uptime_s": 12.5,
            "socket": "/run/0.sock",
            "wire": "null",
            "link_up": True,
            "client": "attached",
            "reset_count": 1,
            "now_ns": self.now_ns,
        }

    def _registers_values(self, bar=None, items=None, all=False):  # noqa: A002
        if all:
            wanted = [key for key in self.values if bar in (None, key[0])]
        else:
            wanted = [(bar, offset) for offset, _ in items]
        self.now_ns += 1000
        return {"now_ns": self.now_ns, "values": [[*key, self.values[key]] for key in wanted]}

    def _registers_read(self, bar, offset, width):
        assert width in (32, 64)
        return {"value": self.values[bar, offset]}

    def _registers_write(self, bar, offset, width, value):
        assert width in (32, 64)
        self.values[bar, offset] = value
        return {}

    def _pci_config(self):
        return {"bytes": config_space().hex()}

    def _queues_list(self):
        return QUEUES

    def _queues_show(self, kind, number, count, first=None):
        found = [each for each in QUEUES if (each["kind"], each["number"]) == (kind, number)]
        if not found:
            raise ShellError("NOT_FOUND", f"there is no {kind.lower()} queue {number}")
        descriptor, completion = RINGS[kind]
        first = found[0]["head"] if first is None else first
        descriptors = [] if descriptor is None else [
            {"index": first, "address": 0x1000, "bytes": descriptor.pack().hex(), "where": "posted"},
            {"index": first + 1, "address": 0x1020, "bytes": bytes(32).hex(), "where": "done"},
            {"index": first + 2, "address": 0x1040, "bytes": None, "where": "posted"},
        ]  # fmt: skip
        completions = [
            {"index": 6, "bytes": completion.pack().hex(), "valid": True, "where": "new"},
            {"index": 7, "bytes": completion.pack().hex(), "valid": False, "where": "taken"},
        ]
        return {**found[0], "descriptors": descriptors[:count], "completions": completions}

    def _flows_list(self, count=256, first=0):
        # A device that goes wrong and gives a key away: the shell must not pass it on.
        flows = [{**FLOW, "key": KEY.hex()}, SENDING]
        return {"total": len(flows), "flows": flows[first : first + count]}

    def _flows_show(self, handle):
        if handle != FLOW["handle"]:
            raise ShellError("NOT_FOUND", f"flow {handle:#x} was never made", "see flows.list")
        question = {"number": 5, "tcp_sequence": 6, "record_number": 17, "asked_ns": 1}
        return {**FLOW, "key": KEY.hex(), "questions": 3, "candidate": 77, "question": question}

    def _flows_history(self, handle):
        return self._resync_log()

    def _resync_log(self, count=32):
        event = {
            "now_ns": SECOND,
            "handle": FLOW["handle"],
            "event": "ASKED",
            "tcp_sequence": 4_000_000_000,
            "record_number": 17,
            "question": 5,
            "old_state": "SEARCH",
            "new_state": "TRACK",
        }
        answered = {**event, "now_ns": SECOND + 2_000_000, "event": "ANSWERED"}
        return [event, answered][:count]

    def _interrupts_list(self):
        vector = {
            "vector": 0,
            "usecs": 0,
            "frames": 0,
            "queues": [],
            "waiting": [],
            "gathered": 0,
            "deadline_ns": None,
            "masked": False,
            "pending": False,
            "raised": 0,
        }
        busy = {**vector, "vector": 1, "raised": 9, "waiting": [{"kind": "TRANSMIT", "number": 0}]}
        return {"mode": "msix", "cause": 2, "enable": 0, "vectors": [vector, busy]}

    def _counters_read(self):
        self.now_ns += SECOND // 2
        self.counters["TX_FRAMES"] += 250
        return {"now_ns": self.now_ns, "counters": self.counters, "wire": {"tx_frames": 5}}

    def _diagnostics_list(self, count):
        recent = [
            {"now_ns": SECOND // 2, "code": "VALUE_RANGE", "operand": 0x4C, "kind": "DEVICE", "queue": 0},
            {"now_ns": SECOND, "code": "DOORBELL_RANGE", "operand": 9999, "kind": "TRANSMIT", "queue": 0},
        ]  # fmt: skip
        counts = {"VALUE_RANGE": 1, "DOORBELL_RANGE": 1}
        return {"total": 2, "counts": counts, "recent": recent[-count:]}

    def _dma_maps(self):
        return [
            {"iova": 1 << 32, "size": 64 << 20, "readable": True, "writable": True, "inaccessible": ""},
            {"iova": 0, "size": 4096, "readable": True, "writable": False, "inaccessible": "no descriptor"},
        ]  # fmt: skip

    def _impairments_get(self):
        return self.impairments

    def _impairments_set(self, side, settings, seed=None):
        assert seed in (None, 7)
        for each in ("tx", "rx") if side == "both" else (side,):
            self.impairments[each] = None if settings == "off" else settings
        return self.impairments

    def _faults_list(self):
        return FAULTS

    def _faults_set(self, name, **settings):
        return {}

    def _faults_clear(self, name=None):
        return {}

    def _trace_start(self, **_parameters):
        self.traced += 1
        self.pending.append({"event": "trace", "records": trace_items(), "lost": 0})
        self.pending.append({"event": "trace", "records": [], "lost": 4})
        return {}

    def _trace_stop(self):
        self.traced -= 1
        return {}

    def _capture_start(self, path, **_parameters):
        return {"path": path}

    def _capture_stop(self, path="/tmp/x.pcapng"):
        return {"path": path, "packets": 5, "bytes": 999}

    def _capture_list(self):
        return [{"path": "/tmp/x.pcapng", "packets": 5, "bytes": 999, "running": False}]

    def _device_reset(self, kind):
        return {"reset_count": 2}

    def _device_mark(self, text):
        return {}


class Typed:
    """A shell that lines are typed into; returns what it printed."""

    def __init__(self, backend, *, as_json=False, width=100, answer=None):
        self.backend = backend
        self.file = io.StringIO()
        self.output = Output(self.file, as_json=as_json, width=width)
        self.questions = []
        self.shell = Shell(
            backend,
            self.output,
            COMMANDS,
            confirm=None if answer is None else self._answer,
            connect=lambda: backend,
        )
        self.shell.sleep = lambda _seconds: None
        self.answer = answer
        self.status = None

    def _answer(self, question):
        self.questions.append(question)
        return self.answer

    def __call__(self, line):
        start = self.file.tell()
        self.status = self.shell.execute(line)
        self.file.seek(start)
        return self.file.read()


def split_line(line):
    """Words of an example."""
    return split(line)

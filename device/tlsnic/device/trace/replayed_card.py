"""A card that a replay runs: host and wire that answer from the record."""

from collections.abc import Sequence

from tlsnic.abi.enums import TraceFlags
from tlsnic.abi.structures import TraceDmaRead, TraceDmaWrite, TraceFrame, TraceInput
from tlsnic.device.core import DmaFault, Nic, NicConfig
from tlsnic.device.core.host import Buffer
from tlsnic.device.packet.vnet import VnetHeader
from tlsnic.device.trace.core import Core
from tlsnic.device.trace.describe import is_secret
from tlsnic.device.trace.memory import TracedMemory
from tlsnic.device.trace.record import Recorded
from tlsnic.device.trace.script import Comparer, Difference, Script
from tlsnic.device.trace.shadow import ShadowMemory
from tlsnic.device.trace.tracer import Tracer

_BUS_MASTER, _MSIX_ENABLED, _INTX_DISABLED = 1, 2, 4


class _Host:
    """Configuration bits as the record has them, and memory as far as it is known."""

    def __init__(self, memory: ShadowMemory | None) -> None:
        self.bus_master = self.msix_enabled = self.intx_disabled = False
        self._memory = memory or ShadowMemory()

    def set_bits(self, bits: int) -> None:
        self.bus_master = bool(bits & _BUS_MASTER)
        self.msix_enabled = bool(bits & _MSIX_ENABLED)
        self.intx_disabled = bool(bits & _INTX_DISABLED)

    def view(self, address: int, length: int, write: bool) -> memoryview | None:
        return self._memory.view(address, length, write)

    def views(self, address: int, length: int, write: bool) -> list[memoryview]:
        return [self._memory.view(address, length, write)]

    def trigger(self, vector: int) -> None:
        pass

    def set_intx(self, asserted: bool) -> None:
        pass


class _Port:
    """Takes the frames that the record says were taken."""

    def __init__(self, script: Script) -> None:
        self.takes_super_frames = False
        self._script = script

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        expected = self._script.peek() if self._script.active else None
        if expected is None or not isinstance(expected.record, TraceFrame):
            return True
        return bool(expected.record.taken)


class _Memory(TracedMemory):
    """Answers from the script what the host answered."""

    def __init__(self, tracer: "_Tracer", script: Script, shadow: ShadowMemory | None) -> None:
        super().__init__(tracer.nic, tracer.card, tracer.put, tracer.put_secret)
        self._script = script
        self._tracer = tracer
        self._shadow = shadow

    def probe(self, address: int, length: int, write: bool) -> None:
        self._raise_fault(address, length, write)

    def fetch(self, address: int, length: int, *, whole: bool) -> list[memoryview]:
        expected = self._raise_fault(address, length, write=False)
        if expected is not None:
            record = expected.record
            same = isinstance(record, TraceDmaRead) and record.address == address
            if same and len(expected.data) == length:
                # Keys are not kept: what the shell shows of memory comes from there.
                if self._shadow is not None and not is_secret(record):
                    self._shadow.store(address, expected.data)
                return [memoryview(expected.data)]
        raise Difference(
            self._script.cause, expected, (TraceDmaRead(address=address, length=length), b"")
        )

    def targets(self, address: int, length: int, *, whole: bool) -> list[memoryview]:
        self._raise_fault(address, length, write=True)
        if self._shadow is None:
            return [memoryview(bytearray(length))]
        return [self._shadow.view(address, length, True)]

    def _raise_fault(self, address: int, length: int, write: bool) -> Recorded | None:
        """DmaFault: so it was when it was recorded. What comes next in the record."""
        expected = self._script.peek(self._tracer.held)
        if expected is None:
            return None
        record = expected.record
        if isinstance(record, TraceDmaWrite if write else TraceDmaRead):
            exact = record.address == address and record.length == length
            inside = not record.length and address <= record.address < address + length
            if record.flags & TraceFlags.FAULT and (exact or inside):
                permission = bool(record.flags & TraceFlags.READ_ONLY)
                raise DmaFault(record.address, record.length, permission=permission)
        return expected


class _Tracer(Tracer):
    """Puts a `_Memory` into the gate."""

    def __init__(self, nic: Nic, card: int, script: Script, shadow: ShadowMemory | None) -> None:
        super().__init__(nic, card)
        self._answers = script, shadow

    def memory(self) -> TracedMemory:
        return _Memory(self, *self._answers)


class ReplayedCard:
    """A card of the record.

    Attributes:
        nic: its core.
        host: what the core takes for its host: configuration bits, and memory as far as it passed.
    """

    def __init__(self, start: TraceInput, script: Script, keep_memory: bool) -> None:
        mac = start.value.to_bytes(6, "big")
        shadow = ShadowMemory() if keep_memory else None
        self.number = start.card
        self.host = _Host(shadow)
        self.port = _Port(script)
        self.nic = Nic(NicConfig(mac=mac, link_mbps=start.argument), self.host, self.port)
        self.nic.advance(start.now_ns)
        self.tracer = _Tracer(self.nic, start.card, script, shadow)
        self._comparer = Comparer(script)
        self.tracer.add(self._comparer)

    @property
    def core(self) -> Core:
        """For inputs."""
        return self.tracer.core

    def let_go(self) -> None:
        """Compare no more: what comes now is not in the record."""
        self.tracer.remove(self._comparer)

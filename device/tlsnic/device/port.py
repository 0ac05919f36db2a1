"""One port: a card, the vfio-user socket that the host reaches it by, and the wire it hangs on."""

import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from tlsnic.abi.enums import Diagnostic
from tlsnic.device import vfu
from tlsnic.device.core import Nic, NicConfig, ResetKind
from tlsnic.device.core.diagnostics import Entry
from tlsnic.device.core.host import Host
from tlsnic.device.core.receive import Arrival
from tlsnic.device.pci import REVISION, PciHost, Registers
from tlsnic.device.trace.core import Core
from tlsnic.device.trace.sink import Sink
from tlsnic.device.trace.tracer import Tracer
from tlsnic.device.wire import VnetHeader, Wire, WireEventKind

MESSAGES_PER_TURN: Final = 256
FRAMES_PER_TURN: Final = 64
FLUSH_NS: Final = 100_000_000
"""Traces of a card that is busy for longer are brought up to date after so long."""

log = logging.getLogger("tlsnic.device")

_RESETS: Final = {
    vfu.Reset.DEVICE: ResetKind.DEVICE,
    vfu.Reset.FUNCTION_LEVEL: ResetKind.FUNCTION,
    vfu.Reset.LOST_CONNECTION: ResetKind.DISCONNECT,
}
SHARED_RAM_FIX: Final = (
    "start QEMU with -object memory-backend-memfd,id=ram,size=SIZE,share=on "
    "-machine memory-backend=ram"
)


class Timer(Protocol):
    """Something beside the card that is to be called at its time."""

    def turn(self, now_ns: int) -> None:
        """Once per turn of the port."""

    def next_deadline_ns(self) -> int | None:
        """When there is something to do; None: not before another turn."""


class Port:
    """Drives a `Nic` from a vfio-user context and a wire; the event loop calls `turn`.

    Whoever looks at the card asks `nic`; whoever changes something does it through `core`, so that
    what listens to the `tracer` has it. `sinks` listen from the beginning.
    """

    def __init__(
        self,
        socket_path: str,
        wire: Wire,
        config: NicConfig,
        *,
        number: int = 0,
        sinks: Sequence[Sink] = (),
        now_ns: int = 0,
        library: vfu.Library | None = None,
    ) -> None:
        self.socket_path = socket_path
        self.wire = wire
        self.context = vfu.Context(socket_path, library=library)
        try:
            self.context.pci_init(revision=REVISION)
            self.host = PciHost(self.context)
            self.nic = Nic(config, self.host, wire)
            self.core: Core = self.nic
            self._registers: Registers | None = None
            self.tracer = Tracer(self.nic, number, self._take_core)
            self.host.set_up(self.nic, self._forget_views, self._reset)
            self.context.realize()
        except BaseException:
            self.context.close()
            raise
        self._host_fd = self.context.fileno()
        self._wire_fd = wire.fileno()
        self._arrived: list[Arrival] = []
        self._link_up = False
        self._joins = False
        wire.set_receive_super_frames(False)
        self.timer: Timer | None = None
        self.busy = False
        self._closing = False
        self._flushed_ns = now_ns
        self.nic.observer = self._log_diagnostic
        self.nic.advance(now_ns)
        for sink in sinks:
            self.tracer.add(sink)
        self._follow_wire()
        self.tracer.flush()

    def filenos(self) -> list[int]:
        """Descriptors that are readable when `turn` has something to do."""
        return [self._host_fd] if self._wire_fd is None else [self._host_fd, self._wire_fd]

    def turn(self, now_ns: int, readable: Collection[int]) -> None:
        """Do some of everything that is pending; sets `busy` when there is more to do at once."""
        try:
            self._turn(now_ns, readable)
        except Exception:
            log.exception("%s: internal error; the client is disconnected", self.socket_path)
            self.fail()

    def fail(self) -> None:
        """After a fault of the card's own: fail closed, with the keys wiped, and live on."""
        self.busy = False
        self.context.disconnect("internal error")
        self.core.reset(ResetKind.DISCONNECT)

    def _turn(self, now_ns: int, readable: Collection[int]) -> None:
        self.core.advance(now_ns)
        if self._host_fd in readable:
            self._serve_host()
        if self.timer is not None:
            self.timer.turn(now_ns)
        wire = self.wire
        due = wire.next_deadline_ns()
        if self._wire_fd in readable or (due is not None and due <= now_ns):
            wire.receive(self._take, FRAMES_PER_TURN, now_ns)
            arrived, self._arrived = self._arrived, []
            self.core.receive(arrived, now_ns)
        if wire.events or wire.link_up != self._link_up:
            self._follow_wire()
        if self.nic.transmitter.blocked and not wire.wants_write:
            self.core.wire_writable(now_ns)
        if self.nic.receiver.joins != self._joins:
            # Without coalescing the host's stack cuts its super-frames itself, faster than the card.
            self._joins = self.nic.receiver.joins
            wire.set_receive_super_frames(self._joins)
        self.host.msix.poll()
        self.busy = self.core.poll(now_ns)
        if not self.busy or now_ns - self._flushed_ns >= FLUSH_NS:
            self._flushed_ns = now_ns
            self.tracer.flush()

    def next_deadline_ns(self) -> int | None:
        """When `turn` has to be called even if nothing is readable; None: no need."""
        deadlines = [self.nic.next_deadline_ns(), self.wire.next_deadline_ns()]
        if self.timer is not None:
            deadlines.append(self.timer.next_deadline_ns())
        return min((due for due in deadlines if due is not None), default=None)

    def exchange_wire(self, wire: Wire) -> None:
        """Go on with another wire that has the descriptor of this one: a stage on top, or one less."""
        self.wire = wire
        self.nic.port_gate.connect(wire)
        wire.set_receive_super_frames(self._joins)

    def exchange_host(self, host: Host | None) -> None:
        """Let `host` stand between the card and the host's memory and interrupts; None: nobody."""
        self.core.forget_views()
        self.nic.host_gate.connect(host or self.host)

    def exchange_registers(self, target: Registers | None) -> None:
        """Let the host's register accesses go to `target`; None: straight to the core."""
        self._registers = target
        self.host.connect(target or self.core)

    def reset_function(self) -> None:
        """As a function level reset by the host; the client is not told."""
        self._reset(vfu.Reset.FUNCTION_LEVEL)

    def close(self) -> None:
        """Disconnect the client, wipe the card, remove the socket, close the wire."""
        self._closing = True
        self.host.let_go()
        try:
            self.context.close()
        finally:
            self.wire.close()

    def _take_core(self, core: Core) -> None:
        self.core = core
        if self._registers is None:
            self.host.connect(core)

    def _forget_views(self) -> None:
        self.core.forget_views()

    def _take(self, frame: memoryview, vnet: VnetHeader | None) -> None:
        # A copy: the wire's buffer is used again for the next frame.
        self._arrived.append((bytes(frame), vnet))

    def _serve_host(self) -> None:
        try:
            self.context.run(MESSAGES_PER_TURN)
        except vfu.VfuDisconnected as gone:
            log.info("%s: client gone: %s", self.socket_path, gone)
        except vfu.VfuError as error:
            log.error("%s: %s", self.socket_path, error)
        region, self.host.ram_not_shared = self.host.ram_not_shared, None
        if region is not None:
            self.core.report(Diagnostic.RAM_NOT_SHARED, region.iova)
            log.error(
                "%s: the client mapped RAM (%d MiB at %#x) without a shared file descriptor, and is "
                "refused; fix: %s",
                self.socket_path, region.size >> 20, region.iova, SHARED_RAM_FIX,
            )  # fmt: skip
            self.context.disconnect("guest RAM is not shared")

    def _follow_wire(self) -> None:
        wire = self.wire
        while wire.events:
            event = wire.events.popleft()
            level = logging.WARNING if event.kind is WireEventKind.DIAGNOSTIC else logging.INFO
            log.log(level, "%s: %s: %s", wire.name, event.name, event.detail)
            if event.kind is not WireEventKind.DIAGNOSTIC:
                self.core.set_link(event.kind is WireEventKind.LINK_UP)
        self._link_up = wire.link_up
        self.core.set_link(self._link_up)

    def _reset(self, kind: vfu.Reset) -> None:
        self.core.reset(_RESETS[kind])
        if not self._closing:  # the configuration space is gone before the last reset
            self.host.reset_function()

    def _log_diagnostic(self, entry: Entry) -> None:
        # The 1st, 2nd, 4th, 8th … of a kind: enough to see it, too few to flood.
        count = self.nic.diagnostics.counts[entry.code]
        if not count & (count - 1):
            where = f"{entry.kind.name.lower()} queue {entry.queue}" if entry.kind else "device"
            log.warning(
                "%s: %s: %s %#x (%d so far)",
                self.socket_path, where, entry.code.name, entry.operand, count,
            )  # fmt: skip

"""A card as the inspector sees it: the core, and what is around it as far as it is there."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tlsnic.device import vfu
from tlsnic.device.control.protocol import ControlError, ErrorName, Json
from tlsnic.device.core import DmaFault, Nic
from tlsnic.device.core.host import Host
from tlsnic.device.pci import PciHost, Registers
from tlsnic.device.port import Port, Timer
from tlsnic.device.trace.capture import CaptureFile
from tlsnic.device.trace.core import Core
from tlsnic.device.trace.sink import Sink
from tlsnic.device.trace.tracer import Tracer
from tlsnic.device.wire import Wire, WireError

log = logging.getLogger("tlsnic.device")


class Card:
    """A core without a PCI side: one on the bench, or one that is replayed.

    Args:
        nic: the core, for looking.
        core: the same for inputs; what is recorded goes through it.
        host: the core's way to memory and configuration bits, which notes nothing of what is asked.
    """

    def __init__(
        self,
        nic: Nic,
        core: Core,
        host: Host,
        *,
        number: int = 0,
        socket: str = "",
        wire: Wire | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.nic = nic
        self._core = core
        self.number = number
        self.socket = socket
        self.host = host
        self.siblings: Sequence[Card] = (self,)
        """All cards of the device."""
        self.faults: object = None
        """Of faults.*: what is on."""
        self.listeners: dict[object, Sink] = {}
        """Of trace.*: clients and what sends to them."""
        self.captures: list[CaptureFile] = []
        """Of capture.*: those that were begun there."""
        self._wire = wire
        self.clock_ns = clock_ns
        self.started_ns = clock_ns()

    @property
    def core(self) -> Core:
        """Where inputs go."""
        return self._core

    @property
    def tracer(self) -> Tracer:
        """Where sinks are added. ControlError: it is not there."""
        raise self.unavailable("no tracer")

    def close(self) -> None:
        """Let go of what was begun: captures are complete files then."""
        for sink in self.listeners.values():
            self.tracer.remove(sink)
        self.listeners.clear()
        for capture in self.captures:
            self.tracer.remove(capture)
            try:
                capture.close()
            except WireError as error:
                log.error("%s", error)
        self.captures.clear()

    @property
    def wire(self) -> Wire:
        """The wire. ControlError: there is none."""
        if self._wire is None:
            raise self.unavailable("no wire")
        return self._wire

    def exchange_wire(self, wire: Wire) -> None:
        """Go on with a stage on top of the wire, or with the one below it."""
        self._wire = wire
        self.nic.port_gate.connect(wire)

    def exchange_host(self, host: Host | None) -> None:
        """Let `host` stand between the card and memory and interrupts; None: nobody."""
        self.core.forget_views()
        self.nic.host_gate.connect(host or self.host)

    def exchange_registers(self, target: Registers | None) -> None:
        """Let the host's register accesses go to `target`. ControlError: there is no host."""
        raise self.unavailable("no bus")

    def set_timer(self, timer: Timer | None) -> None:
        """Call `timer` in every turn."""

    def mark(self, text: str) -> bool:
        """Put `text` into the trace; False: none is taken."""
        return False

    @property
    def wire_name(self) -> str:
        """The wire as the user wrote it, or nothing."""
        return "" if self._wire is None else self._wire.name

    @property
    def client(self) -> str:
        """Whether somebody drives the card: listening, negotiating, attached, quiescing, none."""
        return "none"

    @property
    def pci(self) -> PciHost:
        """Configuration space and MSI-X table. ControlError: there are none."""
        raise self.unavailable("no PCI configuration space")

    @property
    def regions(self) -> Sequence[vfu.DmaRegion]:
        """The DMA maps. ControlError: there are none."""
        raise self.unavailable("no DMA maps")

    def memory(self, address: int, length: int) -> bytes | None:
        """Host memory, or None where none is mapped."""
        try:
            return b"".join(self.host.views(address, length, False))
        except DmaFault:
            return None

    def reset_function(self) -> None:
        """A function level reset. ControlError: there is no function."""
        raise self.unavailable("no PCI function")

    def fail(self) -> None:
        """A change broke off, and left the card in a state that nobody knows: let it do no harm."""

    def identity(self) -> Json:
        """What tells the cards of a device apart."""
        return {
            "card": self.number,
            "socket": self.socket,
            "wire": self.wire_name,
            "mac": self.nic.config.mac.hex(":"),
        }

    def unavailable(self, what: str) -> ControlError:
        """The error of something that this card has not."""
        return ControlError(
            ErrorName.UNAVAILABLE,
            f"card {self.number} has {what}",
            "ask a running `tlsnic device`",
        )


class PortCard(Card):
    """A card that is served on a socket."""

    def __init__(
        self, port: Port, number: int = 0, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        super().__init__(
            port.nic,
            port.core,
            port.host,
            number=number,
            socket=str(Path(os.path.abspath(port.socket_path))),
            clock_ns=clock_ns,
        )
        self._port = port

    @property
    def core(self) -> Core:
        return self._port.core

    @property
    def tracer(self) -> Tracer:
        return self._port.tracer

    @property
    def wire(self) -> Wire:
        return self._port.wire

    @property
    def wire_name(self) -> str:
        return self._port.wire.name

    def exchange_wire(self, wire: Wire) -> None:
        self._port.exchange_wire(wire)

    def exchange_host(self, host: Host | None) -> None:
        self._port.exchange_host(host)

    def exchange_registers(self, target: Registers | None) -> None:
        self._port.exchange_registers(target)

    def set_timer(self, timer: Timer | None) -> None:
        self._port.timer = timer

    def mark(self, text: str) -> bool:
        self._port.tracer.mark(text)
        return bool(self._port.tracer.sinks)

    @property
    def client(self) -> str:
        return self._port.context.state.name.lower()

    @property
    def pci(self) -> PciHost:
        return self._port.host

    @property
    def regions(self) -> Sequence[vfu.DmaRegion]:
        return self._port.context.dma.regions

    def reset_function(self) -> None:
        self._port.reset_function()

    def fail(self) -> None:
        self._port.fail()

"""What all stages of the card share: host, registers, counters, interrupts, diagnostics, flows."""

from dataclasses import dataclass

from tlsnic.device.core.counters import Counters
from tlsnic.device.core.diagnostics import Diagnostics
from tlsnic.device.core.host import Host
from tlsnic.device.core.interrupts import Interrupts
from tlsnic.device.core.regfile import RegisterFile
from tlsnic.device.tls.table import FlowTable


@dataclass(slots=True, frozen=True)
class Parts:
    """Made once by `Nic`, handed to every queue and stage."""

    host: Host
    regs: RegisterFile
    counters: Counters
    interrupts: Interrupts
    diagnostics: Diagnostics
    flows: FlowTable

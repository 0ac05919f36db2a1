"""What all stages of the card share: host, registers, counters, interrupts, diagnostics, flows, journal."""

from dataclasses import dataclass

from tlsnic.device.core.counters import Counters
from tlsnic.device.core.diagnostics import Diagnostics
from tlsnic.device.core.gate import HostGate
from tlsnic.device.core.interrupts import Interrupts
from tlsnic.device.core.journal import Journal
from tlsnic.device.core.regfile import RegisterFile
from tlsnic.device.tls.table import FlowTable


@dataclass(slots=True, frozen=True)
class Parts:
    """Made once by `Nic`, handed to every queue and stage."""

    host: HostGate
    regs: RegisterFile
    counters: Counters
    interrupts: Interrupts
    diagnostics: Diagnostics
    flows: FlowTable
    journal: Journal

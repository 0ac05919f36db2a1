"""The card itself, without I/O: register accesses, frames and time in; DMA, interrupts and frames out.

Nothing here opens a socket, starts a thread or looks at a clock, so that every run can be recorded,
replayed, fuzzed and property-tested. `Nic` is the only entry point.
"""

from tlsnic.device.core.host import DmaFault, Host, Port
from tlsnic.device.core.nic import Nic, NicConfig, ResetKind

__all__ = ["DmaFault", "Host", "Nic", "NicConfig", "Port", "ResetKind"]

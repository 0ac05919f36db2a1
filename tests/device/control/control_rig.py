"""An inspector on a card of the bench."""

from tlsnic.device.control import Card, Inspector
from tlsnic.device.trace.tracer import Tracer


class RigCard(Card):
    """With what a port does for its card; `bus` is where the host's register accesses go."""

    def __init__(self, rig, number):
        super().__init__(
            rig.nic, rig.nic, rig.host, number=number, wire=rig.wire, clock_ns=lambda: rig.now_ns
        )
        self.bus = rig.nic
        self.timer = None
        self._tracer = Tracer(rig.nic, number, self._take_core)

    @property
    def tracer(self):
        return self._tracer

    def _take_core(self, core):
        self._core = core

    def mark(self, text):
        self._tracer.mark(text)
        return bool(self._tracer.sinks)

    def exchange_registers(self, target):
        self.bus = target or self.nic

    def set_timer(self, timer):
        self.timer = timer


def inspector_of(*rigs):
    """Its clocks are the benches'."""
    return Inspector([RigCard(rig, number) for number, rig in enumerate(rigs)])

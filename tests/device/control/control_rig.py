"""An inspector on a card of the bench."""

from tlsnic.device.control import Card, Inspector


class RigCard(Card):
    """With what a port does for its card; `bus` is where the host's register accesses go."""

    def __init__(self, rig):
        super().__init__(rig.nic, rig.nic, rig.host, wire=rig.wire, clock_ns=lambda: rig.now_ns)
        self.bus = rig.nic
        self.timer = None

    def exchange_registers(self, target):
        self.bus = target or self.nic

    def set_timer(self, timer):
        self.timer = timer


def inspector_of(rig):
    """Its clock is the bench's."""
    return Inspector([RigCard(rig)])

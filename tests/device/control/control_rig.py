"""An inspector on a card of the bench."""

from tlsnic.device.control import Card, Inspector


def inspector_of(rig):
    """Its clock is the bench's."""
    card = Card(rig.nic, rig.nic, rig.host, wire=rig.wire, clock_ns=lambda: rig.now_ns)
    return Inspector([card])

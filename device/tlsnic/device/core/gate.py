"""Between the core and what is outside: where a trace is put in, and costs nothing while there is none.

The core keeps a gate for good. The gate's methods are those of what is connected to it: attributes
that are exchanged, not tested.
"""

from typing import Protocol

from tlsnic.device.core.host import Host, Port


class TracedHost(Host, Protocol):
    """A `Host` that tells one use of memory from another."""

    def ring_view(self, address: int, length: int, write: bool) -> memoryview | None:
        """A whole ring, to be kept until `Nic.forget_views`; None: entry by entry, please."""

    def entry_view(self, address: int, length: int, write: bool) -> memoryview | None:
        """One entry of a ring, read or filled at once; None when it crosses into another map."""

    def secret_views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """A block with keys, copied at once."""


class HostGate:
    """The host, as the core uses it. Views are good until the input of the core ends."""

    __slots__ = (
        "entry_view", "host", "ring_view", "secret_views", "set_intx", "trigger", "view", "views",
    )  # fmt: skip

    def __init__(self, host: Host) -> None:
        self.host = host
        self.view = host.view
        self.views = host.views
        self.ring_view = host.view
        self.entry_view = host.view
        self.secret_views = host.views
        self.trigger = host.trigger
        self.set_intx = host.set_intx

    def connect(self, host: Host) -> None:
        """Straight through to `host`."""
        HostGate.__init__(self, host)

    def insert(self, host: TracedHost) -> None:
        """All that the core does with the host passes `host` from now on."""
        self.connect(host)
        self.ring_view = host.ring_view
        self.entry_view = host.entry_view
        self.secret_views = host.secret_views

    @property
    def bus_master(self) -> bool:
        return self.host.bus_master

    @property
    def msix_enabled(self) -> bool:
        return self.host.msix_enabled

    @property
    def intx_disabled(self) -> bool:
        return self.host.intx_disabled


class PortGate:
    """The wire, as the core uses it."""

    __slots__ = ("port", "send")

    def __init__(self, port: Port) -> None:
        self.port = port
        self.send = port.send

    def connect(self, port: Port) -> None:
        """All that the core does with the wire goes to `port` from now on."""
        self.port = port
        self.send = port.send

    @property
    def takes_super_frames(self) -> bool:
        return self.port.takes_super_frames

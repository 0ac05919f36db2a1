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

    def block_views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """A block that a command or descriptor names, read or filled at once."""

    def secret_views(self, address: int, length: int, write: bool) -> list[memoryview]:
        """A block with keys, copied at once."""


class HostGate:
    """The host, as the core uses it. Views are good until the input of the core ends.

    Attributes:
        host: what is outside, behind whatever is inserted.
    """

    __slots__ = (
        "_bits", "_inserted", "block_views", "entry_view", "host", "ring_view", "secret_views",
        "set_intx", "trigger", "view", "views",
    )  # fmt: skip

    def __init__(self, host: Host) -> None:
        self.host = host
        self._inserted: TracedHost | None = None
        self._use(host)

    def connect(self, host: Host) -> None:
        """Have `host` outside from now on."""
        self.host = host
        if self._inserted is None:
            self._use(host)

    def insert(self, traced: TracedHost) -> None:
        """All that the core does with the host passes `traced`, which does it with `self.host`."""
        self._inserted = traced
        self._use(traced)
        self.ring_view = traced.ring_view
        self.entry_view = traced.entry_view
        self.block_views = traced.block_views
        self.secret_views = traced.secret_views

    def remove(self) -> None:
        """Straight through again."""
        self._inserted = None
        self._use(self.host)

    def _use(self, host: Host) -> None:
        self._bits = host
        self.view = self.ring_view = self.entry_view = host.view
        self.views = self.block_views = self.secret_views = host.views
        self.trigger = host.trigger
        self.set_intx = host.set_intx

    @property
    def bus_master(self) -> bool:
        return self._bits.bus_master

    @property
    def msix_enabled(self) -> bool:
        return self._bits.msix_enabled

    @property
    def intx_disabled(self) -> bool:
        return self._bits.intx_disabled


class PortGate:
    """The wire, as the core uses it.

    Attributes:
        port: what is outside, behind whatever is inserted.
    """

    __slots__ = ("_inserted", "_used", "port", "send")

    def __init__(self, port: Port) -> None:
        self.port = port
        self._inserted: Port | None = None
        self._use(port)

    def connect(self, port: Port) -> None:
        """Have `port` outside from now on."""
        self.port = port
        if self._inserted is None:
            self._use(port)

    def insert(self, traced: Port) -> None:
        """All that the core does with the wire passes `traced`, which does it with `self.port`."""
        self._inserted = traced
        self._use(traced)

    def remove(self) -> None:
        """Straight through again."""
        self._inserted = None
        self._use(self.port)

    def _use(self, port: Port) -> None:
        self._used = port
        self.send = port.send

    @property
    def takes_super_frames(self) -> bool:
        return self._used.takes_super_frames

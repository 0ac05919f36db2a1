"""QEMU's monitor: its events and the few commands that this project needs."""

import asyncio
import contextlib
import logging
import socket
from types import TracebackType

from qemu.qmp import EventListener, QMPClient, QMPError
from tlsnic.qemu.errors import VmDiedError

_ANSWER_TIMEOUT_S = 30.0
_NOTED = ("SHUTDOWN", "RESET", "GUEST_PANICKED", "STOP", "DEVICE_DELETED")
# What would end in an abort of QEMU or in silent loss of the device's state.
REFUSED = {
    "migrate": "vfio-user-pci can neither be migrated nor does it block migration",
    "migrate-incoming": "vfio-user-pci can neither be migrated nor does it block migration",
    "device_del": "QEMU 10.1 to 11.1 aborts when a vfio-user-pci with MSI-X is unplugged",
}

# qemu.qmp logs a connection that ends, which here is how every run ends.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class RefusedError(ValueError):
    """A monitor command that this version of QEMU does not survive with the card attached."""


class Monitor:
    """A connection to the monitor over a connected socket, which it takes over.

    `events` collects the noted events as (name, data), in order. An async context manager.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock
        self._client = QMPClient("tlsnic")
        self._listener = EventListener(names=_NOTED)
        self._client.register_listener(self._listener)
        self._collector: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.events: list[tuple[str, dict[str, object]]] = []

    async def __aenter__(self) -> "Monitor":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Greeting and negotiation. Raises `VmDiedError` when QEMU ends instead of answering."""
        assert self._socket is not None
        sock, self._socket = self._socket, None
        self._collector = asyncio.ensure_future(self._collect())
        try:
            await self._client.connect(sock)
        except QMPError as error:
            raise VmDiedError("QEMU ended before it ran") from error
        finally:
            # Once connected the transport owns the socket; after a failure it is still ours.
            if self._client.runstate.name == "IDLE":
                sock.close()

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        """A command's return value.

        Raises `RefusedError`, `qemu.qmp.QMPError` and its kin, `TimeoutError`.
        """
        if command in REFUSED:
            raise RefusedError(f"{command} is refused: {REFUSED[command]}")
        return await asyncio.wait_for(self._client.execute(command, arguments), _ANSWER_TIMEOUT_S)

    async def running(self) -> bool:
        """Whether the virtual CPUs run."""
        status = await self.execute("query-status")
        return isinstance(status, dict) and status.get("running") is True

    async def quit(self) -> None:
        """Ask QEMU to end now. An answer that does not come is no error: it may be gone."""
        with contextlib.suppress(QMPError, TimeoutError, OSError, EOFError):
            await self.execute("quit")

    async def power_down(self) -> None:
        """Press the power button (ACPI)."""
        await self.execute("system_powerdown")

    async def wait_event(self, name: str, timeout_s: float) -> dict[str, object]:
        """The data of the first event `name`, also one that has come already."""

        async def find() -> dict[str, object]:
            while True:
                for seen, data in self.events:
                    if seen == name:
                        return data
                self._changed.clear()
                await self._changed.wait()

        return await asyncio.wait_for(find(), timeout_s)

    def shutdown_reason(self) -> str:
        """Why QEMU says the guest ended ("guest-shutdown", "guest-reset", …), "" when unsaid."""
        for name, data in self.events:
            if name == "GUEST_PANICKED":
                return "guest-panic"
            if name == "SHUTDOWN":
                return str(data.get("reason", ""))
        return ""

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._client.runstate.name != "IDLE":
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._client.disconnect()
        if self._collector is not None:
            self._collector.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._collector
            self._collector = None

    async def _collect(self) -> None:
        async for event in self._listener:
            data = event.get("data", {})
            self.events.append((str(event["event"]), data if isinstance(data, dict) else {}))
            self._changed.set()

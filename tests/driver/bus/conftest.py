"""Far ends for the bus tests: a scripted socket, a fake vfio-user server, a simulated sysfs."""

import array
import contextlib
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tlsnic.driver.bus import vfio_abi
from tlsnic.driver.bus import vfio_user_wire as wire
from tlsnic.driver.bus.hugepages import HUGE_BYTES
from tlsnic.driver.bus.sysfs import Sysfs
from tlsnic.driver.bus.vfio_user_client import Connection


def open_descriptors() -> list[str]:
    return sorted(
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    )


@pytest.fixture(autouse=True)
def no_descriptor_leaks() -> Iterator[None]:
    before = len(open_descriptors())
    yield
    assert len(open_descriptors()) == before


def message(
    command: int,
    payload: bytes = b"",
    *,
    msg_id: int = 1,
    flags: int = wire.TYPE_REPLY,
    error: int = 0,
) -> bytes:
    """One message as the specification lays it out, written out by hand."""
    return struct.pack("<HHIII", msg_id, command, 16 + len(payload), flags, error) + payload


class FarEnd:
    """The server's end of a socket pair: what it says is queued before the client asks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def say(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], rights)

    def reply(self, msg_id: int, command: int, payload: bytes = b"", error: int = 0) -> None:
        """Queue a reply; an error number makes it an error reply."""
        flags = wire.TYPE_REPLY | (wire.FLAG_ERROR if error else 0)
        self.say(message(command, payload, msg_id=msg_id, flags=flags, error=error))

    def ask(self, msg_id: int, command: int, payload: bytes = b"", flags: int = 0) -> None:
        """Queue a request of the server's own."""
        self.say(message(command, payload, msg_id=msg_id, flags=flags))

    def heard(self) -> bytes:
        """Everything the client sent so far."""
        data = b""
        while True:
            try:
                more = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return data
            if not more:
                return data
            data += more

    def hang_up(self) -> None:
        self.sock.close()


@pytest.fixture
def make_pair() -> Iterator[Callable[..., tuple[Connection, FarEnd]]]:
    made: list[tuple[Connection, FarEnd]] = []

    def make(
        kind: socket.SocketKind = socket.SOCK_STREAM, timeout_s: float = 5.0
    ) -> tuple[Connection, FarEnd]:
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        made.append((Connection(near, timeout_s), FarEnd(far)))
        return made[-1]

    yield make
    for connection, far_end in made:
        connection.close()
        far_end.hang_up()


class FakeServer:
    """A vfio-user server in a thread: BAR0 of registers, BAR2 with a mappable area, memory maps.

    `answers` replaces the handler of a command: a function of (payload, fds) that returns the
    reply's payload, or an errno, or None to stay silent. `hang_up_after` messages it closes.
    """

    BAR0_BYTES = 4096
    BAR2_BYTES = 16384

    def __init__(self, path: str) -> None:
        self.path = path
        self.hang_up_after = -1
        self.max_fds = 4
        self.seen: list[tuple[int, bytes]] = []
        self.answers: dict[int, Callable[[bytes, list[int]], bytes | int | None]] = {}
        self.regions = {0: bytearray(self.BAR0_BYTES), 2: bytearray(self.BAR2_BYTES)}
        self.regions[7] = bytearray(256)
        struct.pack_into("<HH", self.regions[7], 0, 0x1234, 0x5678)
        struct.pack_into("<I", self.regions[7], 0x10, 0x4)  # BAR0: memory, 64 bits
        struct.pack_into("<I", self.regions[7], 0x18, 0x8)  # BAR2: memory, prefetchable
        self.area = (4096, 8192)
        self.area_fd = os.memfd_create("bar2")
        os.ftruncate(self.area_fd, self.BAR2_BYTES)
        self.irqs = {vfio_abi.PCI_INTX_IRQ_INDEX: (1, 7), vfio_abi.PCI_MSIX_IRQ_INDEX: (10, 9)}
        self.eventfds: dict[tuple[int, int], int] = {}
        self.maps: list[tuple[int, ...]] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        self.client: socket.socket | None = None
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def signal(self, index: int, vector: int) -> None:
        os.eventfd_write(self.eventfds[index, vector], 1)

    def requests(self, command: int) -> list[bytes]:
        return [payload for number, payload in self.seen if number == command]

    def _serve(self) -> None:
        try:
            self.client, _ = self.listener.accept()
        except OSError:
            return
        with self.client:
            while self.hang_up_after < 0 or len(self.seen) < self.hang_up_after:
                header, fds = self._receive(16)
                if len(header) < 16:
                    return
                msg_id, command, size, flags, _ = struct.unpack("<HHIII", header)
                payload = self._receive(size - 16)[0] if size > 16 else b""
                self.seen.append((command, payload))
                answer = self.answers.get(command, getattr(self, f"_on_{command}"))(payload, fds)
                if answer is None or flags & wire.FLAG_NO_REPLY:
                    continue
                out_fds = ()
                if isinstance(answer, int):
                    reply = message(command, msg_id=msg_id, flags=1 | wire.FLAG_ERROR, error=answer)
                else:
                    reply = message(command, answer, msg_id=msg_id)
                    if command == wire.DEVICE_GET_REGION_INFO and payload[8] == 2:
                        out_fds = (self.area_fd,)
                FarEnd(self.client).say(reply, out_fds)

    def _receive(self, size: int) -> tuple[bytes, list[int]]:
        data, fds = b"", array.array("i")
        while len(data) < size:
            try:
                more, ancillary, _, _ = self.client.recvmsg(size - len(data), 256)
            except OSError:
                break
            for _, _, rights in ancillary:
                fds.frombytes(rights)
            if not more:
                break
            data += more
        return data, list(fds)

    def _on_1(self, payload: bytes, fds: list[int]) -> bytes:
        caps = b'{"capabilities":{"max_msg_fds":%d,"max_data_xfer_size":1048576}}\0' % self.max_fds
        return payload[:4] + caps

    def _on_2(self, payload: bytes, fds: list[int]) -> bytes:
        self.maps.append((*struct.unpack("<IIQQQ", payload), len(fds)))
        for fd in fds:
            os.close(fd)
        return b""

    def _on_3(self, payload: bytes, fds: list[int]) -> bytes:
        return payload

    def _on_4(self, payload: bytes, fds: list[int]) -> bytes:
        return struct.pack("<IIII", 16, 3, 9, 5)

    def _on_5(self, payload: bytes, fds: list[int]) -> bytes:
        index = payload[8]
        size = len(self.regions.get(index, b""))
        if index != 2:
            return struct.pack("<IIIIQQ", 32, 3, index, 0, size, 0)
        cap = struct.pack("<HHIIIQQ", 1, 1, 0, 1, 0, *self.area)
        return struct.pack("<IIIIQQ", 32 + len(cap), 15, index, 32, size, 0) + cap

    def _on_7(self, payload: bytes, fds: list[int]) -> bytes:
        index = payload[8]
        count, flags = self.irqs.get(index, (0, 1))
        return struct.pack("<IIII", 16, flags, index, count)

    def _on_8(self, payload: bytes, fds: list[int]) -> bytes:
        _, flags, index, start, count = struct.unpack_from("<IIIII", payload)
        if flags & vfio_abi.IRQ_SET_DATA_EVENTFD:
            for number, fd in enumerate(fds):
                self.eventfds[index, start + number] = fd
        elif flags & vfio_abi.IRQ_SET_ACTION_TRIGGER and count == 0:
            self._close_eventfds(index)
        return b""

    def _close_eventfds(self, index: int | None = None) -> None:
        for key in list(self.eventfds):
            if index in (None, key[0]):
                os.close(self.eventfds.pop(key))

    def _on_9(self, payload: bytes, fds: list[int]) -> bytes | int:
        offset, region, count = struct.unpack("<QII", payload)
        if region not in self.regions or offset + count > len(self.regions[region]):
            return 22
        return payload + bytes(self.regions[region][offset : offset + count])

    def _on_10(self, payload: bytes, fds: list[int]) -> bytes | int:
        offset, region, count = struct.unpack_from("<QII", payload)
        if region not in self.regions or offset + count > len(self.regions[region]):
            return 22
        self.regions[region][offset : offset + count] = payload[16:]
        return payload[:16]

    def _on_13(self, payload: bytes, fds: list[int]) -> bytes:
        self.regions[0][:] = bytes(self.BAR0_BYTES)
        self.regions[7][4:6] = b"\0\0"
        return b""

    def stop(self) -> None:
        for sock in (self.client, self.listener):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.listener.close()
        os.close(self.area_fd)
        self._close_eventfds()
        os.unlink(self.path)


@pytest.fixture
def server(tmp_path) -> Iterator[FakeServer]:
    fake = FakeServer(str(tmp_path / "s"))
    yield fake
    fake.stop()


class SimulatedSysfs(Sysfs):
    """One PCI function in a directory tree, and what the kernel does when its files are written."""

    ADDRESS = "0000:00:05.0"
    BAR0_BYTES = 8192

    def __init__(self, root: Path) -> None:
        super().__init__(str(root / "sys"), str(root / "dev"))
        self.writes: list[tuple[str, str]] = []
        self.modules: list[str] = []
        self.available = {"e1000e", "uio_pci_generic", "vfio-pci"}
        self.accepting = {"e1000e", "uio_pci_generic", "vfio-pci"}
        self.bus = root / "sys/bus/pci"
        self.function = self.bus / "devices" / self.ADDRESS
        self.function.mkdir(parents=True)
        (self.bus / "drivers").mkdir()
        for name, text in {
            "vendor": "0x1234\n",
            "device": "0x5678\n",
            "driver_override": "(null)\n",
            "reset": "",
            "resource": f"0x00000000f0000000 0x{0xF0000000 + self.BAR0_BYTES - 1:016x} 0x000000000014220c\n"
            "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
            "0x000000000000c000 0x000000000000c01f 0x0000000000040101\n" + "0x0 0x0 0x0\n" * 10,
        }.items():
            (self.function / name).write_text(text)
        (self.bus / "drivers_probe").touch()
        config = bytearray(256)
        struct.pack_into("<HHH", config, 0, 0x1234, 0x5678, 0x0003)
        (self.function / "config").write_bytes(config)
        (self.function / "resource0").write_bytes(bytes(self.BAR0_BYTES))
        (self.function / "resource2").write_bytes(bytes(32))
        (root / "dev/vfio").mkdir(parents=True)
        os.mkfifo(root / "dev/uio0")
        event = root / "sys/class/uio/uio0"
        event.mkdir(parents=True)
        (event / "event").write_text("7\n")
        self.huge = root / "sys/kernel/mm/hugepages/hugepages-2048kB"
        self.huge.mkdir(parents=True)
        (self.huge / "nr_hugepages").write_text("64\n")
        (self.huge / "free_hugepages").write_text("64\n")
        self.load_module("e1000e")
        self._bind("e1000e")

    def load_module(self, name: str) -> None:
        self.modules.append(name)
        if name in self.available:
            (self.bus / "drivers" / name).mkdir(exist_ok=True)

    def driver(self) -> str:
        link = self.function / "driver"
        return os.path.basename(os.readlink(link)) if link.is_symlink() else ""

    def command(self) -> int:
        return struct.unpack_from("<H", (self.function / "config").read_bytes(), 4)[0]

    def _bind(self, driver: str) -> None:
        if driver in self.accepting and (self.bus / "drivers" / driver).is_dir():
            (self.function / "driver").symlink_to(self.bus / "drivers" / driver)
            if driver == "uio_pci_generic":
                (self.function / "uio/uio0").mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: str) -> None:
        path = path.replace("/driver/unbind", "/unbind")
        self.writes.append((os.path.basename(path), text))
        if path.endswith("/unbind"):
            (self.function / "driver").unlink()
        elif path.endswith("/driver_override"):
            (self.function / "driver_override").write_text(text.strip() or "(null)")
        elif path.endswith("/drivers_probe"):
            override = (self.function / "driver_override").read_text().strip()
            self._bind("e1000e" if override == "(null)" else override)
        else:
            super().write(path, text)


@pytest.fixture
def sysfs(tmp_path) -> SimulatedSysfs:
    return SimulatedSysfs(tmp_path)


class FakeArena:
    """Ordinary memory in the place of huge pages; `PHYSICAL` is where its pages claim to be."""

    PHYSICAL = (0x1_4000_0000, 0x1_4020_0000, 0x0_8000_0000, 0x1_0000_0000)

    def __init__(self, pages: int) -> None:
        self.size_bytes = pages * HUGE_BYTES
        self.memory = mmap.mmap(-1, self.size_bytes)
        self.address = 0x7F00_0000_0000

    def physical_addresses(self) -> list[int]:
        return [self.PHYSICAL[n % 4] for n in range(self.size_bytes // HUGE_BYTES)]

    def close(self) -> None:
        self.memory.close()


@pytest.fixture
def fake_huge_pages(monkeypatch) -> type[FakeArena]:
    monkeypatch.setattr("tlsnic.driver.bus.uio.HugeArena", FakeArena)
    monkeypatch.setattr("tlsnic.driver.bus.vfio.HugeArena", FakeArena)
    return FakeArena

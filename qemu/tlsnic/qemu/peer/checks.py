"""What cannot be tried from inside a guest: clients of a second card that vanish or misbehave.

Each check starts a device process of its own, returns a report of plain data, and raises
`CheckFailed` with the reason when the device did not do what the reference says.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

from tlsnic.abi import registers as reg
from tlsnic.abi.layout import Register
from tlsnic.driver.bus import BusError, pci
from tlsnic.driver.bus import vfio_user_wire as wire
from tlsnic.driver.bus.vfio_user import VfioUserBus, open_vfio_user
from tlsnic.driver.errors import DriverError
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.qemu.parts import qemu
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.supervise import Child

_CLIENT_TIMEOUT_S = 20.0
_FIX = ("memory-backend-memfd", "share=on")
_VARIABLE = {"STATUS", "MAC_ADDRESS", "LINK_SPEED"}
"""Registers whose value after reset is the operator's, or counts resets."""


class CheckFailed(Exception):
    """The device broke a rule."""


def open_client(path: Path) -> VfioUserBus:
    """A new client. Raises CheckFailed when the device does not serve it in time."""
    try:
        return open_vfio_user(str(path), f"vfio-user:{path}", timeout_s=_CLIENT_TIMEOUT_S)
    except BusError as error:
        raise CheckFailed(f"the next client is not served: {error}") from error


@functools.cache
def _runs() -> list[tuple[int, list[tuple[int, Register]]]]:
    """All registers of BAR 0 without gaps, each run to be read in one message: (offset, members)."""
    elements = sorted(
        (register.address(index), register)
        for register in reg.BAR0.registers
        for index in range(register.array_count)
    )
    runs: list[tuple[int, list[tuple[int, Register]]]] = []
    end = -1
    for offset, register in elements:
        if offset != end:
            runs.append((offset, []))
        runs[-1][1].append((offset, register))
        end = offset + register.size_bytes
    return runs


def differences_from_reset(bus: VfioUserBus) -> list[str]:
    """Registers of a card that nobody has touched since its reset, and are not at reset values."""
    wrong = []
    for start, registers in _runs():
        end = registers[-1][0] + registers[-1][1].size_bytes
        content = bus.region_read(0, start, end - start)
        for offset, register in registers:
            at = offset - start
            value = int.from_bytes(content[at : at + register.size_bytes], "little")
            if value != register.reset and register.name not in _VARIABLE:
                name = f"{register.name} at {offset:#x}"
                wrong.append(f"{name} is {value:#x}, not {register.reset:#x}")
    status = bus.read(0, reg.STATUS, 4)
    if not status & reg.STATUS_READY_MASK:
        wrong.append(f"STATUS is {status:#x}: not ready")
    command = bus.config_read(pci.COMMAND, 2)
    if command & pci.COMMAND_MASTER:
        wrong.append(f"the command register is {command:#x}: bus mastering is on")
    msix = bus.msix_info()
    if msix is None or bus.config_read(msix.offset + pci.MSIX_FLAGS, 2) & pci.MSIX_FLAGS_ENABLE:
        wrong.append("MSI-X is missing or enabled")
    return wrong


def expect_clean(device: DeviceProcess, when: str) -> int:
    """The next client finds a clean card that works; the card's reset count."""
    if not device.alive:
        raise CheckFailed(f"{when}: the device process ended:\n{device.log()}")
    with contextlib.closing(open_client(device.socket_path)) as bus:
        wrong = differences_from_reset(bus)
        if wrong:
            raise CheckFailed(f"{when}: {'; '.join(wrong)}")
        count = bus.read(0, reg.STATUS, 4) >> reg.STATUS_RESET_COUNT_SHIFT
        try:
            with Nic.attach(bus, SMALL) as nic:
                nic.admin.nop()
        except (DriverError, BusError) as error:
            raise CheckFailed(f"{when}: the next client cannot use the card: {error}") from error
    return count


SMALL = NicOptions(
    tx_entries=32, rx_entries=32, admin_entries=8, event_entries=16, tx_bounce_bytes=1 << 16
)


def _session(bus: VfioUserBus) -> Generator[str, None, None]:
    """A client's life in steps; what happened is yielded after each. It never ends by itself."""
    yield "connected"
    nic = Nic.attach(bus, SMALL, start=False)
    yield "attached"
    nic.set_moderation(1, 1000, 8)
    nic.set_mac_filters([b"\x02\0\0\0\0\x07"])
    nic.set_rx_filter(promiscuous=True)
    nic.mac_address = b"\x02\0\0\0\0\x09"
    yield "configured"
    nic.start()
    yield "started"
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x09" + b"\x88\xb5" + bytes(46)
    while True:
        nic.admin.submit(_command())
        yield "command on its way"
        with nic.tx[0].batch():
            for _ in range(8):
                nic.tx[0].send(frame)
        yield "frames on their way"
        nic.admin.reap()
        nic.tx[0].reap()
        nic.tx[0].arm()
        yield "armed"
        nic.tx[0].drain(_CLIENT_TIMEOUT_S)
        yield "drained"


def _command() -> bytes:
    return bytes(32)  # a NOP


def hang_up(bus: VfioUserBus, manner: str) -> None:
    """End the connection as a process that dies does: between two messages, or in one."""
    body = wire.REGION_ACCESS.pack(reg.MAGIC, 0, 4)
    size = wire.HEADER.size + len(body)
    message = wire.HEADER.pack(0x1234, wire.REGION_READ, size, wire.TYPE_COMMAND, 0) + body
    bus.connection.post(message[: _MANNERS[manner]])
    bus.connection.close()


_MANNERS = {
    "between messages": 0,
    "half a header": 7,
    "half a message": 21,
    "a request unanswered": 32,
}
"""How a client goes, and the bytes of a request that it still sends."""


def disconnects(directory: Path, *, seed: int, rounds: int) -> dict[str, object]:
    """Cut `rounds` clients off at points and in manners that `seed` chooses; each time the device
    lives on, and the next client finds a clean card."""
    rng = random.Random(seed)
    points: dict[str, int] = {}
    with DeviceProcess(directory, "null", name=f"check-{seed}") as device:
        count = expect_clean(device, "at the start")
        for number in range(rounds):
            manner = rng.choice(list(_MANNERS))
            bus = open_client(device.socket_path)
            try:
                steps = rng.randrange(12)
                session = _session(bus)
                for _ in range(steps + 1):
                    point = next(session)
                session.close()
                hang_up(bus, manner)
            finally:
                bus.close()
            when = f"round {number} of seed {seed}, client gone when {point}, {manner}"
            points[point] = points.get(point, 0) + 1
            again = expect_clean(device, when)
            if again == count:
                raise CheckFailed(f"{when}: the disconnect was not a reset (count {count})")
            count = again
    return {"rounds": rounds, "points": points}


_KILLED_CLIENT = """
import sys
from tlsnic.qemu.peer.checks import open_client, _session
from pathlib import Path
for step in _session(open_client(Path(sys.argv[1]))):
    print(step, flush=True)
"""


def killed_client(directory: Path, *, seed: int, rounds: int = 3) -> dict[str, object]:
    """Kill (SIGKILL) client processes at full traffic; the next client finds a clean card."""
    rng = random.Random(seed)
    with DeviceProcess(directory, "null", name=f"check-{seed}") as device:
        for number in range(rounds):
            argv = [sys.executable, "-c", _KILLED_CLIENT, str(device.socket_path)]
            reader_fd, writer_fd = os.pipe()
            with open(reader_fd, encoding="ascii") as steps:
                try:
                    client = Child(argv, name="a client", stdout=writer_fd)
                finally:
                    os.close(writer_fd)
                with client:
                    for _ in range(rng.randrange(4, 200)):
                        if not steps.readline():
                            raise CheckFailed(f"round {number}: the client ended by itself")
                    client.kill()
                    client.wait(_CLIENT_TIMEOUT_S)
            expect_clean(device, f"round {number} of seed {seed}, client killed")
    return {"rounds": rounds}


def _await(done: Callable[[], bool], problem: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + _CLIENT_TIMEOUT_S
    while not done():
        if time.monotonic() > deadline_s:
            raise CheckFailed(problem())
        time.sleep(0.005)


def unshared_ram(directory: Path, *, size_bytes: int = 64 << 20) -> dict[str, object]:
    """RAM mapped without a descriptor: the client is dropped, and the log has the fix."""
    with DeviceProcess(directory, "null", name="check-unshared") as device:
        bus = open_client(device.socket_path)
        try:
            # As QEMU maps a mappable BAR of the device back to it: no RAM, so no offence.
            bus.dma_map(0xFE00_0000, 0x1000)
            if bus.read(0, reg.MAGIC, 4) != reg.BAR0.by_name["MAGIC"].reset:
                raise CheckFailed("a small map without a descriptor ended the connection")
            with contextlib.suppress(BusError):  # refused right away is right too
                bus.dma_map(0, size_bytes)
            _await(
                lambda: bus.read(0, reg.MAGIC, 4) == 0xFFFF_FFFF,
                lambda: "a client with unshared RAM is still served",
            )
        finally:
            bus.close()
        line = _line_with_fix(device)
        expect_clean(device, "after the client with unshared RAM")
    return {"line": line}


def unshared_qemu(directory: Path) -> dict[str, object]:
    """The same with the real QEMU, started as somebody does who has not read the manual."""
    machine = qemu(make=False)
    with DeviceProcess(directory, "null", name="check-unshared-qemu") as device:
        where = f'{{"type":"unix","path":"{device.socket_path}"}}'
        argv = [
            *machine.argv_prefix,
            *("-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-m", "64", "-S"),
            *("-device", f'{{"driver":"vfio-user-pci","socket":{where}}}'),
        ]
        with (
            (directory / "check-qemu.log").open("wb") as log,
            Child(argv, name="QEMU", stdout=log, stderr=log),
        ):
            line = _line_with_fix(device)
        expect_clean(device, "after QEMU with unshared RAM")
    return {"line": line}


def _line_with_fix(device: DeviceProcess) -> str:
    text = device.await_log(_FIX, _CLIENT_TIMEOUT_S)
    for line in text.splitlines():
        if all(word in line for word in _FIX):
            return line
    raise CheckFailed(f"the log does not name the fix ({', '.join(_FIX)}):\n{text}")

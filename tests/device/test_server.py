"""The device process: start, clients, reset by the bus, bad options, and its end."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlsnic.abi import registers as r
from tlsnic.device.main import UsageError, parse_mac
from tlsnic.driver.bus import open_bus, vfio_user_wire
from tlsnic.driver.nic import Nic
from tlsnic.qemu.parts import PartError, libvfio_user_path

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def library():
    try:
        libvfio_user_path()
    except PartError as error:
        pytest.skip(f"libvfio-user is not there: {error}")


class Device:
    """A device process; `log` holds what it printed once it has ended."""

    def __init__(self, *arguments):
        ready, write = os.pipe()
        command = [sys.executable, "-m", "tlsnic.device", "--ready-fd", str(write), *arguments]
        self.process = subprocess.Popen(
            command, pass_fds=[write], stderr=subprocess.PIPE, text=True
        )
        os.close(write)
        self.ready = os.read(ready, 6) == b"ready\n"
        os.close(ready)

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.log = self.process.communicate(timeout=20)[1]
        return self.process.returncode


@pytest.fixture
def start():
    devices = []

    def make(*arguments):
        devices.append(Device(*arguments))
        return devices[-1]

    yield make
    for device in devices:
        if device.process.returncode is None:
            device.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_and_removes_the_socket(start, tmp_path, number):
    path = tmp_path / "nic.sock"
    device = start("--socket", str(path))
    assert device.ready
    with open_bus(f"vfio-user:{path}"):
        assert device.end(number) == 0
    assert not path.exists()


def test_stale_socket_is_replaced(start, tmp_path):
    path = tmp_path / "nic.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    device = start("--socket", str(path))
    assert device.ready
    assert device.end() == 0


def test_socket_of_a_living_process_is_refused_with_the_fix(start, tmp_path):
    path = tmp_path / "nic.sock"
    first = start("--socket", str(path))
    second = start("--socket", str(path))
    assert not second.ready
    assert second.end() == 1
    assert len(second.log.strip().splitlines()) == 1
    assert str(path) in second.log
    assert first.process.poll() is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--wire", "nonsense:1"],
        ["--wire", "null", "--wire", "null"],
        ["--mac", "01:00:00:00:00:00"],
        ["--mac", "02:00"],
        ["--link-mbps", "0"],
    ],
)
def test_bad_option_is_one_clear_line(start, tmp_path, arguments):
    device = start("--socket", str(tmp_path / "nic.sock"), *arguments)
    assert not device.ready
    assert device.end() == 1
    assert len(device.log.strip().splitlines()) == 1
    assert "Traceback" not in device.log


def test_port_that_fails_leaves_no_socket_of_the_others(start, tmp_path):
    good = tmp_path / "nic.sock"
    device = start("--socket", str(good), "--socket", str(tmp_path / "missing" / "nic.sock"))
    assert device.end() == 1
    assert not good.exists()
    assert "Traceback" not in device.log


def test_mac_addresses_are_parsed():
    assert parse_mac("02:00:00:00:00:0a") == b"\x02\0\0\0\0\x0a"
    with pytest.raises(UsageError):
        parse_mac("x")


def test_next_client_finds_a_clean_device(start, tmp_path):
    path = tmp_path / "nic.sock"
    device = start("--socket", str(path))
    counts = []
    for _ in range(3):
        with open_bus(f"vfio-user:{path}") as bus, Nic.attach(bus) as nic:
            counts.append(nic.access.read32(r.STATUS) >> 16)
            nic.tx[0].send(b"\x02" * 60)
            nic.drain_tx(5.0)
            assert nic.counters()["TX_FRAMES"] == 1
    assert counts == sorted(set(counts))
    assert device.end() == 0


def test_client_without_shared_ram_is_sent_away_with_the_fix(start, tmp_path):
    path = tmp_path / "nic.sock"
    device = start("--socket", str(path))
    with open_bus(f"vfio-user:{path}") as bus:
        bus.dma_map(0, 32 << 20, -1, 0, 3)
        deadline = time.monotonic() + 10
        while not bus.gone:  # what was sent with the map may still be answered
            assert time.monotonic() < deadline
            bus.read(0, r.MAGIC, 4)
    with open_bus(f"vfio-user:{path}") as bus:
        assert bus.read(0, r.MAGIC, 4) == 0x4E534C54
    device.end()
    assert "memory-backend-memfd" in device.log
    assert "share=on" in device.log


def test_reset_by_the_bus_clears_bus_mastering(start, tmp_path):
    path = tmp_path / "nic.sock"
    start("--socket", str(path))
    with open_bus(f"vfio-user:{path}") as bus:
        bus.set_bus_master(True)
        before = bus.read(0, r.STATUS, 4) >> 16
        bus.connection.request(vfio_user_wire.DEVICE_RESET)  # bus.reset() would restore the bit
        assert bus.read(0, r.STATUS, 4) >> 16 == before + 1
        assert not bus.config_read(4, 2) & 4


def test_two_cards_of_one_process_exchange_packets():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "two_cards.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SHA-256 equal" in done.stdout

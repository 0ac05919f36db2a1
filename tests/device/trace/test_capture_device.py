"""`tlsnic device --capture`: a capture of a device process, and what it says when there cannot be one."""

import subprocess
import time

import pytest

from tlsnic.abi import registers as reg
from tlsnic.abi.structures import TraceRegisterRead
from tlsnic.device.trace.capture import open_capture
from tlsnic.device.trace.reader import read_trace
from tlsnic.device.wire import WireError
from tlsnic.driver.bus import open_bus
from tlsnic.qemu.parts import PartError, libvfio_user_path
from tlsnic.qemu.peer.device import DeviceProcess, device_argv


@pytest.fixture(autouse=True, scope="module")
def _library():
    try:
        libvfio_user_path(make=False)
    except PartError as error:
        pytest.skip(f"libvfio-user is not there: {error}")


def read_magic(device):
    with open_bus(f"vfio-user:{device.socket_path}") as bus:
        return bus.bar(0).read32(reg.MAGIC)


def test_register_accesses_of_a_real_client_are_in_the_file(tmp_path):
    path = tmp_path / "c.pcapng"
    with DeviceProcess(tmp_path, "null", capture=str(path)) as device:
        value = read_magic(device)
    records = [record.record for record in read_trace(str(path))]
    reads = [record for record in records if isinstance(record, TraceRegisterRead)]
    assert (reg.MAGIC, 4, value) in [(r.offset, r.width, r.value) for r in reads]


def test_the_files_are_whole_before_anything_happens(tmp_path):
    capture, record = tmp_path / "c.pcapng", tmp_path / "life.record"
    with DeviceProcess(tmp_path, "null", capture=str(capture), record=str(record)) as device:
        device.await_log(["listening on"], 60.0)
        for path in (capture, record):
            first = next(iter(read_trace(str(path))))
            assert time.time_ns() - 60 * 10**9 < first.timestamp_ns < time.time_ns()


def test_a_full_disk_ends_the_capture_and_not_the_card(tmp_path):
    with DeviceProcess(tmp_path, "null", capture="/dev/full") as device:
        first, second = read_magic(device), read_magic(device)
        log = device.await_log(["No space left on device"], 60.0)
        assert device.alive
        assert first == second
    assert "cannot write capture /dev/full" in log
    assert device.stop() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c.pcapng,snap=much", "'snap=much' is no option"),
        ("c.pcapng,only=radio", "choose from wire/registers"),
        ("absent/c.pcapng", "cannot write capture"),
    ],
)
def test_what_describes_no_capture(tmp_path, text, message):
    with pytest.raises(WireError, match=message):
        open_capture(f"{tmp_path}/{text}")


@pytest.mark.parametrize(
    ("captures", "message"),
    [
        (["{tmp}/c.pcapng,only=radio"], "choose from wire/registers"),
        (["none", "none"], "--capture is given 2 times for 1 sockets"),
    ],
)
def test_a_capture_that_cannot_be_is_one_clear_line(tmp_path, captures, message):
    command = device_argv("null", socket=str(tmp_path / "s"))
    for text in captures:
        command += ["--capture", text.format(tmp=tmp_path)]
    environment = {"TLSNIC_LIBVFIO_USER": str(libvfio_user_path())}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1

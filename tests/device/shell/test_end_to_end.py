"""A real device process with a driver at work, and the shell and the live view at a real terminal."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tlsnic.abi import registers as r
from tlsnic.abi.enums import EventMask, Offload
from tlsnic.device.shell.cast import Terminal
from tlsnic.device.trace.reader import read_trace
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.qemu.parts import PartError, libvfio_user_path

TLSNIC = [sys.executable, "-m", "tlsnic.qemu.cli"]
PROMPT = r"tlsnic:0>\s*$"


@pytest.fixture(autouse=True)
def library():
    try:
        libvfio_user_path()
    except PartError as error:
        pytest.skip(f"libvfio-user is not there: {error}")


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    """The folder of a device that no test changes for the others."""
    folder = tmp_path_factory.mktemp("standing")
    process = start_device(folder)
    yield folder
    process.terminate()
    process.wait(timeout=60)


def start_device(folder):
    ready, write = os.pipe()
    command = [sys.executable, "-m", "tlsnic.device", "--ready-fd", str(write)]
    for name in ("a", "b"):
        command += ["--socket", f"{folder}/{name}.sock", "--wire", "pair:cable"]
    process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    assert os.read(ready, 6) == b"ready\n"
    os.close(ready)
    return process


@pytest.fixture
def device(tmp_path):
    process = start_device(tmp_path)
    yield process
    if process.poll() is None:
        process.terminate()
    process.wait(timeout=60)


@pytest.fixture
def driver(device, tmp_path):
    """A driver that has sent a frame, received it on the other card, and broken a rule."""
    options = NicOptions(events=EventMask.QUEUE | EventMask.DIAGNOSTIC)
    with contextlib.ExitStack() as stack:
        nics = []
        for name in ("a", "b"):
            bus = stack.enter_context(open_bus(f"vfio-user:{tmp_path}/{name}.sock"))
            nics.append(stack.enter_context(Nic.attach(bus, options)))
        first, second = nics
        second.offloads = Offload.RX_CHECKSUM
        first.tx[0].send(second.mac_address + first.mac_address + b"\x88\xb5" + bytes(46))
        first.drain_tx(5.0)
        assert second.receive(5.0) is not None
        first.access.regs.write32(r.MAX_FRAME, 20)
        yield first


@pytest.fixture
def terminals(tmp_path):
    """Starts `tlsnic …` at a terminal."""
    with contextlib.ExitStack() as stack:

        def start(*words, rows=40):
            environment = {"XDG_STATE_HOME": str(tmp_path / "state")}
            terminal = Terminal([*TLSNIC, *words], environment=environment, rows=rows)
            return stack.enter_context(terminal)

        yield start


def script(tmp_path, *words, **options):
    argv = [*TLSNIC, "shell", "--socket", f"{tmp_path}/a.sock", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **options)


def test_session_at_a_terminal(driver, tmp_path, terminals):
    terminal = terminals("shell", "--socket", f"{tmp_path}/a.sock")
    terminal.wait_for(PROMPT)

    def enter(line, answer=PROMPT):
        terminal.press(line + "\r")
        return terminal.wait_for(answer)

    terminal.press("registers CONT\t")
    terminal.wait_for("CONTROL")
    assert "TX_ENABLE" in enter("")
    assert "VALUE_RANGE" in enter("diagnostics")
    assert "transmit 0" in enter("queues")
    assert "END_OF_PACKET" in enter("queue tx 0")
    assert "64 MiB" in enter("dma")
    enter("write CONTROL.TX_ENABLE=0", "Really")
    assert "off" in enter("y", r"TX_ENABLE=off[\s\S]*tlsnic:0>\s*$")
    assert "TX_ENABLE=off" in enter("registers device-control")
    assert "pair:cable" in enter("cards")
    terminal.press("watch --interval 50ms info\r")
    terminal.wait_for("Ctrl-C ends it")
    terminal.press("\x03")
    terminal.wait_for(PROMPT)
    assert "there is no command" in enter("nonsense")
    terminal.press("half a line\x03")
    terminal.wait_for(PROMPT)
    terminal.press("\x04")
    assert terminal.wait() == 0


def test_device_that_ends_and_is_started_again(device, tmp_path, terminals):
    terminal = terminals("shell", "--socket", f"{tmp_path}/a.sock")
    terminal.wait_for(PROMPT)
    device.send_signal(signal.SIGTERM)
    device.wait(timeout=60)
    terminal.press("info\r")
    terminal.wait_for(r"Connect again\? \[y/N\]\s*$")
    again = start_device(tmp_path)
    try:
        terminal.press("y\r")
        terminal.wait_for(r"connected to [\s\S]*tlsnic:0>\s*$")
        terminal.press("info\r")
        assert str(again.pid) in terminal.wait_for(PROMPT)
        terminal.press("\x04")
        assert terminal.wait() == 0
    finally:
        again.terminate()
        again.wait(timeout=60)


def test_script_for_programs(driver, tmp_path):
    done = script(tmp_path, "--json", "-c", "registers STATUS", "-c", "use 1", "-c", "info")
    assert done.returncode == 0, done.stderr
    status, _, info = map(json.loads, done.stdout.splitlines())
    assert status["result"][0]["fields"]["LINK_UP"]["value"] == 1
    assert (info["card"], info["result"]["client"]) == (1, "attached")


def test_trace_and_capture_of_a_real_device(driver, tmp_path):
    file = tmp_path / "run.pcapng"
    lines = [
        "trace --count 3",
        "trace register --seconds 0.1",
        f"capture start {file}",
        "mark here",
        "write RX_COALESCE.TIMEOUT_US=77",
        "capture",
        "capture stop",
    ]
    words = [word for line in lines for word in ("-c", line)]
    done = script(tmp_path, "--json", *words)
    assert done.returncode == 0, done.stdout
    traced, registers, _, mark, _, listed, stopped = (
        json.loads(line)["result"] for line in done.stdout.splitlines()
    )
    assert traced["records"][0]["text"].startswith("input  START")
    assert {record["type_name"] for record in registers["records"]} <= {
        "REGISTER_READ",
        "REGISTER_WRITE",
    }
    assert mark["taken"]
    assert listed[0]["running"]
    assert stopped["packets"] >= 3
    records = [record for _, record, _ in read_trace(file) if record.NAME == "trace_register_write"]
    assert [record.value for record in records] == [77 | 0x40400000]


def test_exit_statuses(standing, tmp_path):
    good = script(standing, "-c", "info")
    assert (good.returncode, good.stderr) == (0, "")
    assert "\x1b" not in good.stdout
    failed = script(standing, "-c", "flow 77", "-c", "info")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "error: " in failed.stderr
    assert script(standing, "-c", "nonsense").returncode == 2
    refused = script(standing, "-c", "reset", stdin=subprocess.DEVNULL)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert script(standing, "-c", "reset --yes").returncode == 0
    gone = subprocess.run(
        [*TLSNIC, "shell", "--socket", f"{tmp_path}/none.sock"], capture_output=True, check=False
    )
    assert gone.returncode == 1


def test_lines_from_standard_input(standing):
    done = script(standing, input="# a remark\ninfo\nquit\nnonsense\n")
    assert done.returncode == 0
    assert "listening" in done.stdout


def test_other_card_by_its_own_socket(standing):
    argv = [*TLSNIC, "shell", "--socket", f"{standing}/b.sock", "-c", "info"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "/b.sock" in done.stdout


def test_colours_only_when_wanted(standing):
    done = script(standing, "--color", "always", "-c", "info")
    assert "\x1b[" in done.stdout


def test_live_view(driver, tmp_path, terminals):
    terminal = terminals("top", "--socket", f"{tmp_path}/a.sock", "--interval", "0.1")
    terminal.wait_for(r"transmit 0  RUNNING[\s\S]*VALUE_RANGE")
    terminal.press("s")
    terminal.wait_for(r"\(share\)")
    terminal.press("p")
    terminal.wait_for("PAUSED")
    terminal.press("q")
    assert terminal.wait() == 0


def test_live_view_tells_that_the_device_has_gone(device, tmp_path, terminals):
    terminal = terminals("top", "--socket", f"{tmp_path}/a.sock", "--interval", "0.1")
    terminal.wait_for("queues")
    device.terminate()
    terminal.wait_for("tlsnic top: the device at")
    assert terminal.wait() == 1


def test_live_view_once(driver, tmp_path):
    argv = [*TLSNIC, "top", "--socket", f"{tmp_path}/a.sock", "--interval", "0.05", "--json"]
    document = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    assert {queue["kind"] for queue in document["queues"]} >= {"TRANSMIT", "RECEIVE"}
    assert document["diagnostics"]["counts"] == {"VALUE_RANGE": 1}

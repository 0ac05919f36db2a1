"""The control socket of a device process, with a client of the card at work."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from tlsnic.abi import registers as r
from tlsnic.device.control import ControlError, Inspector, PortCard
from tlsnic.device.core import NicConfig
from tlsnic.device.port import Port
from tlsnic.device.wire import open_wires
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic
from tlsnic.qemu.parts import PartError, libvfio_user_path

TIMEOUT_S = 60.0


@pytest.fixture(autouse=True)
def library():
    try:
        libvfio_user_path()
    except PartError as error:
        pytest.skip(f"libvfio-user is not there: {error}")


@pytest.fixture
def start(tmp_path):
    """Starts a device with further options; returns process and its vfio-user socket."""
    processes = []

    def start(*options, wire="null"):
        ready, write = os.pipe()
        path = tmp_path / "nic.sock"
        command = [sys.executable, "-m", "tlsnic.device", "--ready-fd", str(write)]
        process = subprocess.Popen(
            [*command, "--socket", path, "--wire", wire, *options],
            pass_fds=[write], stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        os.close(write)
        assert os.read(ready, 6) == b"ready\n", process.communicate()[1]
        os.close(ready)
        return process, path

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def control(path):
    """A function that calls methods."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        client.connect(str(path))
        with client.makefile("rwb") as lines:
            assert json.loads(lines.readline())["hello"] == "tlsnic-control"

            def call(method, **params):
                request = {"id": 1, "method": method, "params": params}
                lines.write(json.dumps(request).encode() + b"\n")
                lines.flush()
                reply = json.loads(lines.readline())
                assert "result" in reply, reply
                return reply["result"]

            yield call


def until(check):
    """Wait for what another process does."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not check():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_there_as_long_as_the_device(start, number):
    process, path = start()
    place = f"{path}.control"
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o600
    with control(place) as call:
        assert call("device.info")["client"] == "listening"
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
    assert not os.path.exists(place)


def test_after_a_kill_the_next_device_takes_the_path_over(start):
    process, path = start()
    process.kill()
    process.wait()
    start()
    with control(f"{path}.control") as call:
        assert call("device.info")["socket"] == str(path)


def test_elsewhere_or_not_at_all(start, tmp_path):
    _, path = start("--control", str(tmp_path / "c"))
    with control(tmp_path / "c") as call:
        assert call("device.info")["pid"]
    assert not os.path.exists(f"{path}.control")
    (tmp_path / "nic.sock").unlink()
    start("--no-control")
    assert not os.path.exists(f"{path}.control")


def test_a_path_that_cannot_be_is_one_clear_line(tmp_path):
    (tmp_path / "notes").write_text("mine")
    command = [sys.executable, "-m", "tlsnic.device", "--socket", tmp_path / "nic.sock"]
    done = subprocess.run(
        [*command, "--control", tmp_path / "notes"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is no socket" in done.stderr
    assert "--no-control" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "nic.sock").exists()


def test_a_fault_of_the_card_closes_it_whoever_met_it(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError

    port = Port(str(tmp_path / "nic.sock"), open_wires(["null"])[0], NicConfig())
    try:
        inspector = Inspector([PortCard(port)])
        monkeypatch.setattr(port.nic, "peek", broken)
        with pytest.raises(ControlError, match="failed: RuntimeError"):
            inspector.call("registers.values", {"all": True})
        assert port.nic.reset_count == 0  # that only looks
        monkeypatch.setattr(port.nic, "write", broken)
        with pytest.raises(ControlError, match="failed: RuntimeError"):
            inspector.call("registers.write", {"offset": r.MAX_FRAME, "value": 1514})
        assert port.nic.reset_count == 1
    finally:
        port.close()


def test_whoever_listens_to_a_busy_card_hears_of_it(tmp_path, monkeypatch):
    class Listener:
        takes_secrets = False
        flushed = 0

        def put(self, record, data=b""):
            pass

        def flush(self):
            self.flushed += 1

    listener = Listener()
    port = Port(str(tmp_path / "nic.sock"), open_wires(["null"])[0], NicConfig(), sinks=[listener])
    try:
        monkeypatch.setattr(port.nic, "poll", lambda _now_ns: True)
        before = listener.flushed
        for now_ns in range(0, 10**9, 10**7):
            port.turn(now_ns, ())
            assert port.busy
        assert 5 <= listener.flushed - before <= 10
    finally:
        port.close()


def test_a_card_at_work(start, tmp_path):
    """What a driver does is seen, what is changed is seen by the driver."""
    _, path = start()
    with (
        control(f"{path}.control") as call,
        open_bus(f"vfio-user:{path}") as bus,
        Nic.attach(bus) as nic,
    ):
        info = call("device.info")
        assert (info["client"], info["bus_master"], info["msix_enabled"]) == (
            "attached",
            True,
            True,
        )
        config = bytes.fromhex(call("pci.config")["bytes"])
        assert len(config) == 4096
        assert config[:2] == b"\x34\x12"
        assert config[4] & 4
        regions = call("dma.maps")
        assert regions
        assert all(region["readable"] and not region["inaccessible"] for region in regions)
        queues = {(queue["kind"], queue["number"]): queue for queue in call("queues.list")}
        assert queues["ADMIN", 0]["state"] == "RUNNING"
        shown = call("queues.show", kind="RECEIVE")
        assert any(entry["where"] == "posted" for entry in shown["descriptors"])
        assert all(entry["bytes"] for entry in shown["descriptors"])
        capture = str(tmp_path / "run.pcapng")
        call("capture.start", path=capture)
        call("registers.write", offset=r.MAX_FRAME, value=1000)
        assert nic.access.regs.read32(r.MAX_FRAME) == 1000
        assert call("capture.stop")["packets"] > 2
        call("faults.set", name="link_flap", ms=20)
        assert not call("device.info")["link_up"]
        until(lambda: call("device.info")["link_up"])
        (flap,) = [fault for fault in call("faults.list") if fault["name"] == "link_flap"]
        assert not flap["on"]
        call("faults.set", name="delay_doorbells", us=1000)
        call("faults.set", name="drop_frames", side="tx")
        call("impairments.set", settings={"delay": "1ms"})
        call("faults.clear")
        assert call("impairments.set", settings="off")["tx"] is None
        assert call("device.info")["wire"] == "null"
        call("device.reset", kind="function")
        assert not call("device.info")["bus_master"]
    with control(f"{path}.control") as call:
        until(lambda: call("device.info")["client"] == "listening")


def test_a_record_made_under_faults_runs_again_in_the_same_way(start, tmp_path):
    record = tmp_path / "run.record"
    process, path = start("--record", str(record))
    with (
        control(f"{path}.control") as call,
        open_bus(f"vfio-user:{path}") as bus,
        Nic.attach(bus) as nic,
    ):
        for name, settings in (
            ("drop_frames", {"side": "tx"}),
            ("corrupt_frame", {"side": "tx"}),
            ("stall_wire", {}),
            ("delay_doorbells", {"us": 2000}),
            ("hold_completions", {}),
            ("swallow_interrupts", {}),
            ("link_flap", {"ms": 5}),
        ):
            call("faults.set", name=name, **settings)
            before = call("counters.read")["counters"]["TX_PACKETS"]
            for _ in range(3):
                nic.tx[0].send(bytes(100))
            call("faults.clear")
            until(lambda: call("counters.read")["counters"]["TX_PACKETS"] > before)  # noqa: B023
        call("faults.set", name="fail_dma", purpose="data")
        nic.tx[0].send(bytes(100))
        until(lambda: call("queues.show", kind="TRANSMIT")["error"] == "DMA_FAULT")
    process.terminate()
    assert process.wait(TIMEOUT_S) == 0
    command = [sys.executable, "-m", "tlsnic.qemu.cli", "replay", record]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as recorded" in done.stdout

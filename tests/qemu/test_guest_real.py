"""Real QEMU, real guest, real card: a command, its calls to the host, and a killed runner."""

import os
import select
import signal
import subprocess
import sys

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.boot import device_command
from tlsnic.qemu.launch import MEMORY_ABOVE_4G_MIB, Machine
from tlsnic.qemu.run import run_in_guest
from tlsnic.qemu.vm import prepare

pytestmark = [pytest.mark.qemu, pytest.mark.slow]


@pytest.fixture(autouse=True, scope="module")
def _parts_are_there():
    try:
        parts.qemu(make=False)
        parts.guest(make=False)
        parts.libvfio_user_path(make=False)
    except parts.PartError as error:
        pytest.skip(str(error))


IN_THE_GUEST = """
import glob, os, sys
from tlsnic.qemu.channel import Channel
with Channel.open(os.environ["TLSNIC_CONTROL"]) as control:
    frames = [bytes([n]) * 1500 for n in range(64)]
    assert control.call("peer.echo", {"frames": frames}) == {"frames": frames}
    report = {"id": "BUS-06", "outcome": "passed", "duration_s": 0.5, "text": "\\u00e9"}
    control.call("tlsnic.result", report)
classes = [open(path).read().strip() for path in glob.glob("/sys/bus/pci/devices/0000:01:*/class")]
ram = [line for line in open("/proc/iomem") if "System RAM" in line]
high = sum(int(line.split("-")[0], 16) >= 1 << 32 for line in ram)
compiled = sys.modules["tlsnic.qemu.channel"].__cached__
print("card", classes, "high", high, "compiled", os.path.exists(compiled), os.environ["VALUE"])
print(open("/proc/sys/vm/nr_hugepages").read().strip(), os.path.exists("/dev/net/tun"))
sys.exit(9)
"""


def test_a_command_runs_beside_the_card_and_everything_comes_back():
    result = run_in_guest(
        ["python3", "-c", IN_THE_GUEST],
        device_cmd=device_command(),
        on_call={"peer.echo": lambda frames: {"frames": frames}},
        machine=Machine(memory_mib=MEMORY_ABOVE_4G_MIB, hugepages=32),
        env={"VALUE": "it's"},
        setup=prepare("tcg"),
        timeout_s=300,
    )
    assert result.output.splitlines() == [
        "card ['0x020000'] high 1 compiled True it's",
        "32 True",
    ], result.console
    assert result.exit_status == 9
    assert [(report.id, report.text) for report in result.reports] == [("BUS-06", "é")]
    assert "reboot: Power down" in result.console


RUNNER = """
import sys
from tlsnic.qemu.boot import device_command
from tlsnic.qemu.run import run_in_guest
from tlsnic.qemu.supervise import Child
from tlsnic.qemu.vm import prepare
started = Child.__init__
def announced(self, *args, **options):
    started(self, *args, **options)
    print(self.pid, flush=True)
Child.__init__ = announced
run_in_guest(["sleep", "600"], device_cmd=device_command(), setup=prepare("tcg"), timeout_s=300)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killing_the_runner_ends_the_real_qemu_and_the_device(number, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as runner:
        pidfds = [os.pidfd_open(int(runner.stdout.readline())) for _ in range(2)]
        runner.send_signal(number)
        assert runner.wait(60) != 0
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 5)[0], "a child outlived its runner"
        os.close(pidfd)
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []

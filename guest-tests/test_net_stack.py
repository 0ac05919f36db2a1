"""Real traffic: the Linux stack on this side, bridged to a card, and the Linux stack of a namespace
of the host at the other end of its wire. NET-01, NET-02 and NET-03 as a kernel judges them.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time

import pytest
from harness.environment import SIDE_HOST

from tlsnic.qemu.peer.data import (
    FAR_ADDRESS,
    FAR_ADDRESS6,
    NEAR_ADDRESS,
    NEAR_ADDRESS6,
    PREFIX,
    PREFIX6,
    receive_all,
    send_all,
)

pytestmark = [
    pytest.mark.row("NET-01"),
    pytest.mark.row("NET-02"),
    pytest.mark.row("NET-03"),
    pytest.mark.root,
    pytest.mark.deadline(90),
]
TAP = "tls0"
FILE_BYTES = 50_000_000
_READY_TIMEOUT_S = 20.0


class Near:
    """This side's stack: in a guest the guest's own, on the host that of a namespace."""

    def __init__(self, namespace):
        self.namespace = namespace

    def run(self, *argv, timeout_s=30.0):
        if self.namespace is not None:
            return self.namespace.run(argv, timeout_s=timeout_s)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def connect(self, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket if self.namespace is None else self.namespace.socket
        connection = made(family, socket.SOCK_STREAM)
        connection.settimeout(60)
        connection.connect((address, port))
        return connection


@pytest.fixture(scope="module")
def stack(environment, tmp_path_factory):
    """A bridge between the second card and a TAP of this side's stack."""
    spec = environment.traffic_bus_spec()
    log_path = tmp_path_factory.mktemp("bridge") / "log"
    argv = [sys.executable, "-m", "tlsnic.driver.bridge", "--bus", spec, "--tap", TAP]
    with contextlib.ExitStack() as stack:
        namespace = None
        log = stack.enter_context(log_path.open("wb"))
        if environment.side == SIDE_HOST:
            from tlsnic.qemu.netns import Netns  # noqa: PLC0415 - needs more than a guest has

            namespace = stack.enter_context(Netns())
            bridge = namespace.spawn(argv, name="the bridge", stdout=log, stderr=log)
            stack.callback(bridge.stop)
        else:
            bridge = subprocess.Popen(argv, stdout=log, stderr=log)
            stack.callback(bridge.wait)
            stack.callback(bridge.terminate)
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while b"bridge ready" not in log_path.read_bytes():
            running = bridge.poll() is None and time.monotonic() < deadline_s
            assert running, f"the bridge is not ready:\n{log_path.read_text()}"
            time.sleep(0.01)
        near = Near(namespace)
        near.run("ip", "address", "add", f"{NEAR_ADDRESS}/{PREFIX}", "dev", TAP)
        near.run("ip", "address", "add", f"{NEAR_ADDRESS6}/{PREFIX6}", "dev", TAP, "nodad")
        yield near
        assert bridge.poll() is None, f"the bridge has ended:\n{log_path.read_text()}"


def ping_words(address, *options):
    return ["ping", "-n", "-c", "3", "-i", "0.1", "-W", "5", *options, address]


@pytest.mark.parametrize("address", [FAR_ADDRESS, FAR_ADDRESS6])
def test_net_01_stack_ping(stack, address):
    for size in ("56", "1400"):
        assert " 0% packet loss" in stack.run(*ping_words(address, "-s", size))


@pytest.mark.parametrize("address", [NEAR_ADDRESS, NEAR_ADDRESS6])
def test_net_01_stack_ping_from_the_far_end(stack, peer, address):
    text = peer.stack("run", argv=ping_words(address))
    assert " 0% packet loss" in text


@pytest.mark.parametrize("address", [FAR_ADDRESS, FAR_ADDRESS6])
def test_net_01_stack_fragments(stack, address):
    """Packets of 8000 bytes, which both stacks cut and join."""
    assert " 0% packet loss" in stack.run(*ping_words(address, "-s", "8000"))


def transfer(stack, peer, *, address, upload, size_bytes, seed):
    """One TCP connection's data, and its SHA-256 at both ends."""
    kind = "sink" if upload else "source"
    offer = peer.stack("serve", kind=kind, size_bytes=size_bytes, seed=seed, ipv6=":" in address)
    started_s = time.monotonic()
    with stack.connect(address, offer["port"]) as connection:
        if upload:
            digest, count = send_all(connection, size_bytes, seed), size_bytes
        else:
            digest, count = receive_all(connection)
    far_digest = peer.stack("result", token=offer["token"])
    assert count == size_bytes
    assert digest == far_digest
    return size_bytes / (time.monotonic() - started_s)


@pytest.mark.parametrize("upload", [True, False], ids=["to the far end", "from the far end"])
def test_net_03_stack_file_of_50_mb(stack, peer, request, upload):
    rate = transfer(stack, peer, address=FAR_ADDRESS, upload=upload, size_bytes=FILE_BYTES, seed=50)
    note(request, bytes=FILE_BYTES, mbit_per_s=round(rate * 8 / 1e6))


@pytest.mark.parametrize("upload", [True, False], ids=["to the far end", "from the far end"])
def test_net_03_stack_file_over_ipv6(stack, peer, request, upload, scale):
    rate = transfer(
        stack,
        peer,
        address=FAR_ADDRESS6,
        upload=upload,
        size_bytes=scale(20_000_000, 4_000_000),
        seed=6,
    )
    note(request, mbit_per_s=round(rate * 8 / 1e6))


@pytest.mark.parametrize("reverse", [False, True], ids=["to the far end", "from the far end"])
def test_net_02_stack_iperf3(stack, peer, request, reverse):
    if shutil.which("iperf3") is None:
        pytest.skip("iperf3 is not installed here: apt-get install iperf3")
    port = peer.stack("iperf_server")
    words = ["iperf3", "--client", FAR_ADDRESS, "--port", str(port), "--time", "1", "--json"]
    text = stack.run(*words, *(["--reverse"] if reverse else []))
    result = json.loads(text)["end"]
    received = result["sum_received"]["bits_per_second"]
    assert received > 1e6
    note(
        request,
        mbit_per_s=round(received / 1e6),
        retransmits=result["sum_sent"].get("retransmits", 0),
    )


def note(request, **facts):
    """Facts for the report."""
    from harness.plugin import DETAILS  # noqa: PLC0415

    request.node.stash.setdefault(DETAILS, {}).update(facts)

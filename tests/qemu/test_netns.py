"""Network namespaces and TAP devices that vanish with their owner."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tlsnic.qemu import netns
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.netns import Netns, tap_namespace, unique_name

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def test_a_tap_has_its_addresses_and_answers_ping_by_its_own_stack():
    with tap_namespace("192.0.2.1/24", "2001:db8::1/64", mtu=9000) as namespace:
        (link,) = json.loads(namespace.ip("-json", "address", "show", "dev", "tap0"))
        addresses = {item["local"] for item in link["addr_info"]}
        assert {"192.0.2.1", "2001:db8::1"} <= addresses
        assert link["mtu"] == 9000
        tap = namespace.open_tap("tap0")
        try:
            ours = b"\x02\0\0\0\0\x02"
            theirs = bytes.fromhex(link["address"].replace(":", ""))
            arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + ours + socket.inet_aton("192.0.2.2")
            arp += bytes(6) + socket.inet_aton("192.0.2.1")
            asked = 0
            while True:
                # What comes before the kernel has seen that the TAP is up is dropped.
                if not select.select([tap], [], [], 1 if asked else 0)[0]:
                    assert asked < 60, "no ARP reply"
                    os.write(tap, b"\xff" * 6 + ours + b"\x08\x06" + arp)
                    asked += 1
                    continue
                frame = os.read(tap, 10_000)
                if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
                    break
            assert frame[:12] == ours + theirs
            assert frame[22:32] == theirs + socket.inet_aton("192.0.2.1")
        finally:
            os.close(tap)


def test_the_namespace_and_its_tap_are_private_and_gone_at_the_end():
    before = set(socket.if_nameindex())
    descriptors = len(os.listdir("/proc/self/fd"))
    with tap_namespace() as namespace:
        assert "tap0" in namespace.ip("link")
        assert set(socket.if_nameindex()) == before
        inode = os.stat(namespace.path).st_ino
    assert (
        str(inode)
        not in subprocess.run(
            ["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=False
        ).stdout
    )
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_sockets_made_inside_stay_inside():
    with Netns() as namespace, namespace.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with namespace.socket() as inside:
            inside.connect(server.getsockname())
            served, _ = server.accept()
            served.close()
        with socket.socket() as outside, pytest.raises(ConnectionRefusedError):
            outside.connect(server.getsockname())


def test_a_variable_of_the_stack_is_set_inside_only():
    path = Path("/proc/sys/net/ipv4/ip_default_ttl")
    before = path.read_text()
    with Netns() as namespace:
        namespace.set_sysctl("ipv4/ip_default_ttl", 33)
        assert namespace.call(path.read_text) == "33\n"
        assert path.read_text() == before
        with pytest.raises(OSError, match="no_such_variable"):
            namespace.set_sysctl("ipv4/no_such_variable", 1)


def test_programs_started_inside_are_stopped_with_it():
    with Netns() as namespace:
        child = namespace.spawn(
            ["sh", "-c", "readlink /proc/self/ns/net; exec sleep 600"],
            name="sleeper",
            stdout=subprocess.PIPE,
        )
        seen = child._process.stdout.readline().decode().strip()
        assert seen == f"net:[{os.stat(namespace.path).st_ino}]"
    assert child.poll() == -signal.SIGTERM
    child._process.stdout.close()


def test_nothing_is_left_when_the_owner_is_killed():
    code = (
        "import os, signal\n"
        "from tlsnic.qemu.netns import Netns\n"
        "namespace = Netns()\n"
        "namespace.add_tap('tap0', addresses=['192.0.2.1/24'])\n"
        "child = namespace.spawn(['sleep', '600'], name='sleeper')\n"
        "print(os.stat(namespace.path).st_ino, child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    inode, pid = done.stdout.split()
    assert not os.path.exists(f"/proc/{pid}/exe")
    listed = subprocess.run(
        ["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=False
    )
    assert inode not in listed.stdout.split()
    assert netns.leftovers() == []


def test_a_failing_command_inside_is_told_with_its_message():
    with Netns() as namespace:
        with pytest.raises(UserError, match="Cannot find device"):
            namespace.ip("link", "set", "nothing", "up")
        with pytest.raises(UserError, match="not installed"):
            namespace.run(["no-such-program"])


def test_interfaces_left_in_the_hosts_namespace_are_found():
    name = unique_name()
    with Netns() as elsewhere:
        assert elsewhere.call(netns.leftovers) == []
        elsewhere.add_tap(name)
        assert elsewhere.call(netns.leftovers) == [f"interface {name}"]


def test_names_are_unique_and_fit_the_kernels_limit():
    names = [unique_name() for _ in range(100)]
    assert len(set(names)) == 100
    assert all(len(name) <= 15 for name in names)

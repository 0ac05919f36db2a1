"""The far end of the Linux driver's tests: its programs, files and the wire, without any guest."""

import contextlib
import hashlib
import os

import pytest

from tlsnic.device.shell.backend import SocketBackend
from tlsnic.qemu import linux
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.peer.data import FAR_ADDRESS6
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.linux_peer import LinuxPeer

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]
SERVER = ["openssl", "s_server", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept"]


@pytest.fixture
def namespace():
    with linux.far_namespace() as found:
        yield found


@pytest.fixture
def peer(namespace, tmp_path):
    return LinuxPeer(namespace, tmp_path, tmp_path / "device.sock.control")


def test_addresses_outlive_a_link_that_was_down(namespace):
    namespace.ip("link", "set", "tap0", "down")
    namespace.ip("link", "set", "tap0", "up")
    assert FAR_ADDRESS6 in namespace.ip("address", "show", "dev", "tap0")


def test_a_file_is_what_a_program_reads(peer):
    digest = peer.file(name="data", size_bytes=3_000_001)
    done = peer.run(argv=["cat"], stdin="data")
    assert (done["status"], done["sha256"], done["bytes"]) == (0, digest, 3_000_001)


def test_a_program_that_fails_says_why(peer):
    done = peer.run(argv=["cat", "missing"])
    assert done["status"] == 1
    assert "No such file" in done["error"]
    assert done["sha256"] == hashlib.sha256(b"").hexdigest()


def test_servers_run_until_they_are_stopped(peer):
    peer.file(name="data", size_bytes=500_000)
    number = peer.start(argv=[*SERVER, "4433"], port=4433)
    timed = peer.fetch_timed(url="https://127.0.0.1:4433/data", clients=2)
    assert timed["bytes"] == 2 * 500_000
    assert 0 < timed["elapsed_s"] < 20
    assert peer.stop(number=number) == -15
    assert peer.run(argv=["curl", "-k", "https://127.0.0.1:4433/data"])["status"] == 7


def test_a_server_that_cannot_start_is_told(peer):
    with pytest.raises(UserError, match="does not listen"):
        peer.start(argv=["false"], port=4434)


def test_the_guest_gets_certificate_and_key(peer):
    assert all(path.is_file() for path in peer.files().values())
    assert set(peer.files()) == {"cert.pem", "key.pem"}


def test_the_wire_is_made_bad_and_good_again(peer, tmp_path):
    with DeviceProcess(tmp_path, "null") as device:
        device.await_log(("listening on",), 20)  # the last thing that it gets ready
        with contextlib.closing(SocketBackend(f"{device.socket_path}.control")) as backend:
            peer.impair(settings={"loss": "1%"}, seed=3)
            now = backend.call("impairments.get", {})
            assert now["tx"] == now["rx"]
            assert now["tx"]["loss"] == "1%"
            peer.impair(settings=None)
            assert backend.call("impairments.get", {})["rx"] is None

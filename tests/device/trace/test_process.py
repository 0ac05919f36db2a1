"""A device process with two cards, TLS from one to the other over a lossy wire, recorded and replayed."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlsnic.abi.enums import CipherSuite, DmaPurpose
from tlsnic.abi.structures import TraceDmaWrite
from tlsnic.device.trace.record import RecordReader
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic
from tlsnic.driver.tcp import Connection, Endpoint, TcpConfig
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tls.receive_stream import TlsReceiver
from tlsnic.driver.tls.session import TlsSession
from tlsnic.driver.tls.stream import TlsSender
from tlsnic.qemu.cli import main as tlsnic

KEY = hashlib.sha256(b"a key").digest()
IV = hashlib.sha256(b"an IV").digest()[:12]
SESSION = TlsSession(CipherSuite.TLS13_AES_256_GCM, KEY, IV, b"")
DATA = bytes(range(256)) * 1000
TIMEOUT_S = 30.0


class Device:
    """Two cards on a cable that loses 2 % of what the first sends."""

    def __init__(self, folder, *options):
        self.sockets = [folder / "a.sock", folder / "b.sock"]
        command = [sys.executable, "-m", "tlsnic.device", "--no-control", *options]
        for path, wire in zip(
            self.sockets, ("pair:c+impair:tx.loss=2%,seed=4", "pair:c"), strict=True
        ):
            command += ["--socket", str(path), "--wire", wire]
        ready, write = os.pipe()
        self.process = subprocess.Popen([*command, "--ready-fd", str(write)], pass_fds=[write])
        os.close(write)
        with os.fdopen(ready, "rb") as pipe:
            assert pipe.readline() == b"ready\n"

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


def wait_for(condition, *hosts):
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        for host in hosts:
            host.turn(0)


def transfer(sockets):
    """DATA from card to card, encrypted by the one and decrypted by the other."""
    with (
        open_bus(f"vfio-user:{sockets[0]}") as near_bus,
        open_bus(f"vfio-user:{sockets[1]}") as far_bus,
        Nic.attach(near_bus) as near_nic,
        Nic.attach(far_bus) as far_nic,
    ):
        near, far = Host(near_nic, ["10.0.0.1"]), Host(far_nic, ["10.0.0.2"])
        accepted = far.listen(443)
        sending = connect(near, far)
        wait_for(lambda: accepted and sending.established, near, far)
        sender = TlsSender(near, sending, SESSION)
        receiver = TlsReceiver(far, accepted.popleft(), SESSION)
        received, sent = bytearray(), 0

        def pump():
            nonlocal sent
            if sent < len(DATA):
                sent += sender.write(memoryview(DATA)[sent:])
            received.extend(receiver.read())
            return len(received) == len(DATA)

        wait_for(pump, near, far)
        assert received == DATA
        statistics = near_nic.statistics(), far_nic.statistics()
        wait_for(lambda: not sending.unacknowledged, near, far)
        sender.free()
        receiver.free()
        sending.abort(time.monotonic_ns())
    return statistics


def connect(near, far):
    endpoint = Endpoint(near.mac, far.mac, b"\x0a\0\0\x01", b"\x0a\0\0\x02", 4000, 443)
    connection = near.add(Connection(endpoint, TcpConfig()))
    connection.connect(time.monotonic_ns())
    return connection


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The record of a device that was stopped as it should be."""
    folder = tmp_path_factory.mktemp("life")
    path = folder / "life.record"
    device = Device(folder, "--record", str(path))
    sent, got = transfer(device.sockets)
    assert device.end(signal.SIGTERM) == 0
    assert sent["TX_TLS_PRESYNC"] > 0
    assert sent["TX_TLS_ENCRYPTED_PACKETS"] > 0
    assert got["RX_TLS_DECRYPTED_PACKETS"] > 0
    return path


def test_a_life_of_two_cards_runs_again(record, capsys):
    assert tlsnic(["replay", str(record)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("all as recorded: ")
    assert "not whole" not in out


def flip(path, copy):
    """A copy of a record in which one bit of a written completion is another."""
    data = bytearray(path.read_bytes())
    reader = RecordReader(str(path))
    number, record, written = next(
        one
        for one in reader
        if one.number > 2000
        and isinstance(one.record, TraceDmaWrite)
        and one.record.purpose == DmaPurpose.COMPLETION
    )
    at = data.index(record.pack() + written) + record.SIZE + 5
    data[at] ^= 4
    copy.write_bytes(data)
    return number


def test_one_flipped_bit_is_found_and_named(record, tmp_path, capsys):
    copy = tmp_path / "other.record"
    number = flip(record, copy)
    assert tlsnic(["replay", str(copy), "--key", f"{record}.key"]) == 1
    out = capsys.readouterr().out
    assert f"recorded:  #{number}, DMA write" in out
    assert "from byte 5 on:" in out
    assert "as recorded before that:" in out


def shows_a_key(text):
    """Whether any eight bytes of a key are in it, plain or in hexadecimal."""
    flat = text.lower().translate({ord(each): None for each in " :_\n"})
    return any(
        piece[at : at + 8].hex() in flat
        or piece[at : at + 8] in text.encode(errors="surrogateescape")
        for piece in (KEY, IV)
        for at in range(len(piece) - 7)
    )


def test_no_key_is_in_the_record_nor_in_what_a_replay_says(record, tmp_path, capsys):
    assert not shows_a_key(record.read_bytes().decode(errors="surrogateescape"))
    copy = tmp_path / "other.record"
    flip(record, copy)
    commands = ["flows", "queues", "registers", "resync", "diagnostics"]
    lines = [word for command in commands for word in ("-c", command)]
    tlsnic(["replay", str(copy), "--key", f"{record}.key", *lines])
    tlsnic(["replay", str(record), "--until", "DESTROYED", "--json", *lines])
    shown = capsys.readouterr()
    assert "0x40000" in shown.out
    assert not shows_a_key(shown.out + shown.err)


def test_the_shell_sees_the_card_as_it_was(record, capsys):
    where = ["--until", "CREATED", "--json"]
    assert tlsnic(["replay", str(record), *where, "-c", "flows"]) == 0
    out = capsys.readouterr().out
    assert "stopped at #" in out
    shown = json.loads(out[out.index("{") :] if "{" in out else out)
    assert "4000" in json.dumps(shown)


def test_a_record_survives_the_end_of_its_device(tmp_path, capsys):
    path = tmp_path / "life.record"
    device = Device(tmp_path, "--record", str(path))
    limits = Path(f"/proc/{device.process.pid}/limits").read_text()
    with open_bus(f"vfio-user:{device.sockets[0]}") as bus:
        Nic.attach(bus).close()
        size = path.stat().st_size
        assert size > 10_000
        assert device.end(signal.SIGKILL) == -signal.SIGKILL
    assert path.stat().st_size == size
    assert tlsnic(["replay", str(path)]) == 0
    out = capsys.readouterr().out
    assert "the record is not whole (the device did not end it" in out
    (core,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    assert core.split()[4:6] == (["0", "0"] if most == 0 else ["1", "1"])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["none.record"], 2, "No such file"),
        (["none.record", "--until", "TLS_AUHT"], 2, "perhaps TLS_AUTH"),
    ],
)
def test_what_cannot_be_replayed(arguments, status, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tlsnic(["replay", *arguments]) == status
    assert words in capsys.readouterr().err


def test_keys_that_are_not_there(record, tmp_path, capsys):
    (tmp_path / "alone.record").write_bytes(record.read_bytes())
    assert tlsnic(["replay", str(tmp_path / "alone.record")]) == 2
    assert "put " in (error := capsys.readouterr().err)
    assert "alone.record.key" in error


def test_a_place_that_never_comes(record, capsys):
    assert tlsnic(["replay", str(record), "--until", "TLS_AUTH"]) == 1
    assert "TLS_AUTH is not in the record" in capsys.readouterr().err

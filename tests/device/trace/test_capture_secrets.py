"""Key logs in captures: what tshark, OpenSSL and editcap say about them."""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
import struct
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from tlsnic.device.trace.secrets import add_secrets, key_log_lines
from tlsnic.device.wire import Direction, PcapngReader, PcapngWriter, WireError
from tlsnic.qemu.cli import main

MESSAGE = b"GET /what-the-peer-said HTTP/1.0\r\n\r\n"
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=peer"]
    argv += ["-keyout", "key.pem", "-out", "cert.pem", "-newkey", "ec"]
    argv += ["-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder


class Connection:
    """A TLS connection of OpenSSL with itself; what passes goes into a capture."""

    def __init__(self, folder: Path, keys: Path, version: ssl.TLSVersion, port: int) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        server.minimum_version = server.maximum_version = version
        server.keylog_filename = str(keys)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        bios = [ssl.MemoryBIO() for _ in range(4)]
        self._ends = [
            (client.wrap_bio(bios[0], bios[1]), bios[1], bios[2]),
            (server.wrap_bio(bios[2], bios[3], server_side=True), bios[3], bios[0]),
        ]
        self._port = port
        self.frames: list[tuple[bytes, Direction]] = []
        self._sequence = [1000, 2000]
        self._segment(0, b"", "S")
        self._segment(1, b"", "SA")
        self._segment(0, b"", "A")
        for _ in range(4):
            for number, (end, _, _) in enumerate(self._ends):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
                self._pass(number)
        self._ends[0][0].write(MESSAGE)
        self._pass(0)
        self._ends[1][0].write(MESSAGE)
        self._pass(1)

    def _pass(self, number: int) -> None:
        _, out, into = self._ends[number]
        data = out.read()
        into.write(data)
        for at in range(0, len(data), 700):
            self._segment(number, data[at : at + 700], "PA")

    def _segment(self, number: int, payload: bytes, flags: str) -> None:
        ends, ports = ["10.0.0.2", "10.0.0.1"], [self._port, 443]
        tcp = TCP(
            sport=ports[number], dport=ports[1 - number], flags=flags,
            seq=self._sequence[number], ack=0 if flags == "S" else self._sequence[1 - number],
        )  # fmt: skip
        frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        frame /= IP(src=ends[number], dst=ends[1 - number]) / tcp / payload
        self.frames.append((bytes(frame), Direction(2 - number)))
        self._sequence[number] += len(payload) + ("S" in flags)


@pytest.fixture
def run(request: pytest.FixtureRequest, certificate: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A capture and its key log; TLS 1.3 unless the test asks for another version."""
    version = ssl.TLSVersion[getattr(request, "param", "TLSv1_3")]
    capture, keys = tmp_path / "c.pcapng", tmp_path / "keys"
    connection = Connection(certificate, keys, version, 50_000)
    with PcapngWriter(capture) as writer:
        for number, (frame, direction) in enumerate(connection.frames):
            writer.write((frame,), number, direction)
    return capture, keys


def tshark(capture: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(capture), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert not [line for line in done.stderr.splitlines() if "Running as user" not in line]
    return done.stdout


def secrets_of(path: Path) -> list[bytes]:
    with path.open("rb") as stream:
        reader = PcapngReader(stream, str(path))
        assert list(reader)
        return [secrets for _, secrets in reader.secrets]


@needs_tshark
@pytest.mark.parametrize("run", ["TLSv1_2", "TLSv1_3"], indirect=True)
def test_tshark_decrypts_and_follows_by_itself(run: tuple[Path, Path]) -> None:
    capture, keys = run
    follow = ("-q", "-z", "follow,tls,ascii,0")
    assert "what-the-peer-said" not in tshark(capture, *follow)
    assert add_secrets(capture, keys) == len(list(key_log_lines(keys.read_bytes())))
    assert tshark(capture, *follow).count("what-the-peer-said") == 2
    http = ("-Y", "http.request.method == GET", "-T", "fields", "-e", "tcp.srcport")
    assert sorted(tshark(capture, *http).split()) == ["443", "50000"]


def test_the_output_is_another_file_of_its_owner(run: tuple[Path, Path], tmp_path: Path) -> None:
    capture, keys = run
    before, out = capture.read_bytes(), tmp_path / "out.pcapng"
    add_secrets(capture, keys, out)
    assert capture.read_bytes() == before
    assert out.stat().st_mode & 0o777 == 0o600
    assert secrets_of(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.pcapng", "keys", "out.pcapng"]


@pytest.mark.parametrize("run", ["TLSv1_2", "TLSv1_3"], indirect=True)
def test_only_secrets_of_connections_in_the_capture_are_taken_and_once(
    run: tuple[Path, Path], certificate: Path
) -> None:
    capture, keys = run
    own = keys.read_bytes()
    Connection(certificate, keys, ssl.TLSVersion.TLSv1_3, 50_001)  # logged, too
    assert len(keys.read_bytes()) > len(own)
    count = add_secrets(capture, keys)
    (secrets,) = secrets_of(capture)
    assert secrets in own.replace(b"\n\n", b"\n")
    assert count == len(secrets.splitlines())
    once = capture.read_bytes()
    assert add_secrets(capture, keys) == 0
    assert capture.read_bytes() == once


def test_packets_stay_as_they_are_in_both_byte_orders(
    run: tuple[Path, Path], tmp_path: Path
) -> None:
    capture, keys = run
    with capture.open("rb") as stream:
        frames = list(PcapngReader(stream, "ours"))
    other = tmp_path / "other.pcapng"
    blocks = [
        struct.pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28),
        struct.pack(">IIHHII", 1, 20, 1, 0, 0, 20),
    ]
    for frame in frames:
        size = len(frame.data)
        total = 32 + size + -size % 4
        blocks.append(struct.pack(">IIIIIII", 6, total, 0, 0, 0, size, size) + frame.data)
        blocks.append(bytes(-size % 4) + struct.pack(">I", total))
    other.write_bytes(b"".join(blocks))
    for path in (capture, other):
        add_secrets(path, keys)
        with path.open("rb") as stream:
            assert [f.data for f in PcapngReader(stream, "again")] == [f.data for f in frames]
    assert secrets_of(capture) == secrets_of(other)


@pytest.mark.skipif(shutil.which("editcap") is None, reason="editcap is not installed")
def test_editcap_takes_the_secrets_out_again(run: tuple[Path, Path], tmp_path: Path) -> None:
    capture, keys = run
    add_secrets(capture, keys)
    out = tmp_path / "plain.pcapng"
    subprocess.run(["editcap", "--discard-all-secrets", capture, out], check=True, timeout=60)
    assert secrets_of(capture)
    assert not secrets_of(out)


def test_wrong_files_are_named(run: tuple[Path, Path], tmp_path: Path) -> None:
    capture, keys = run
    before = capture.read_bytes()
    stranger = tmp_path / "stranger"
    stranger.write_text(f"CLIENT_RANDOM {'ab' * 32} {'cd' * 48}\n")
    for arguments, message in (
        ((capture, stranger), "belongs to one of the 1 TLS connections"),
        ((capture, capture), "is no key log"),
        ((keys, keys), "no pcapng"),
        ((capture, tmp_path / "absent"), "cannot read .*absent"),
        ((tmp_path / "absent", keys), "cannot read .*absent"),
        ((capture, keys, tmp_path / "no" / "folder"), "cannot write"),
    ):
        with pytest.raises(WireError, match=message):
            add_secrets(*arguments)
    assert capture.read_bytes() == before


def test_the_command_says_how_many(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, keys = run
    out = tmp_path / "out.pcapng"
    assert main(["secrets", str(capture), str(keys), "-o", str(out)]) == 0
    assert re.search(r"out.pcapng: \d secrets? added", capsys.readouterr().out)
    assert main(["secrets", str(capture), str(capture)]) != 0
    assert "is no key log" in capsys.readouterr().err

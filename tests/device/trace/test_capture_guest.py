"""A capture and a record of a card that a guest's driver uses: tshark reads the one, decrypts it, and
names its bus; the other runs again with the same outputs; no key is in either."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from needs import needs_programs, needs_taps

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.generate.build import ABI, ROOT
from tlsnic.device.trace.reader import read_trace
from tlsnic.device.trace.secrets import add_secrets
from tlsnic.driver.tls.key_schedule import traffic_keys
from tlsnic.qemu import parts
from tlsnic.qemu.netns import tap_namespace
from tlsnic.qemu.peer.data import FAR_ADDRESS, NEAR_ADDRESS, PREFIX
from tlsnic.qemu.peer.device import device_argv
from tlsnic.qemu.peer.openssl import NAME, PORT, TAP, make_files
from tlsnic.qemu.run import run_in_guest
from tlsnic.qemu.vm import prepare

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.slow,
    pytest.mark.root,
    needs_taps,
    needs_programs("ip", "openssl", "tshark"),
]
SIZE_BYTES = 300_000
HEX = set("0123456789abcdef")
SCRIPT = ROOT / ABI / "lua/tlsnic.lua"

IN_THE_GUEST = """
import hashlib, os, sys
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tcp import TcpConfig
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tls.handshake import Handshake, make_context
from tlsnic.driver.tls.receive_stream import TlsReceiver
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.stream import shake_hands
from tlsnic.abi.enums import CipherSuite
from tlsnic.qemu.channel import Channel

address, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with Channel.open(os.environ["TLSNIC_CONTROL"]) as control, \\
        open_bus("uio:0000:01:00.0") as bus, Nic.attach(bus, NicOptions()) as nic:
    host = Host(nic, [address])
    accepted = host.listen(port, TcpConfig(window=1 << 20))
    context = make_context(server_side=True, suites=CipherSuite.TLS13_AES_128_GCM)
    context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
    control.call("peer.send", {})
    assert host.run(lambda: accepted, 60.0), "nobody connects"
    connection = accepted.popleft()
    handshake = Handshake(context, server_side=True)
    shake_hands(host, connection, handshake, 60.0)
    session, surplus = handshake.receive_session(), handshake.take_surplus()
    receiver = TlsReceiver(host, connection, session, surplus, resync=Resync.BOTH)
    digest = hashlib.sha256()
    while not receiver.at_end:
        assert host.run(lambda: receiver.readable or receiver.at_end, 60.0), "nothing comes"
        digest.update(receiver.read())
    print(digest.hexdigest(), nic.statistics()["RX_TLS_DECRYPTED_PACKETS"] > 0)
    receiver.free()
"""


@pytest.fixture(autouse=True, scope="module")
def _parts_are_there():
    try:
        parts.qemu(make=False)
        parts.guest(make=False)
        parts.libvfio_user_path(make=False)
    except parts.PartError as error:
        pytest.skip(str(error))


def tshark(capture: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(capture), "-X", f"lua_script:{SCRIPT}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert not [line for line in done.stderr.splitlines() if "Running as user" not in line]
    return done.stdout


def secrets_of(keys: Path) -> list[bytes]:
    """What must be nowhere: traffic secrets of the connection's data, and the keys made of them."""
    found = []
    for line in keys.read_text().splitlines():
        name, *_, secret = line.split()
        if name.endswith("_TRAFFIC_SECRET_0"):
            made = traffic_keys(CipherSuite.TLS13_AES_128_GCM, bytes.fromhex(secret))
            found += [bytes.fromhex(secret), made.key, made.iv]
    assert len(found) == 6
    return found


def replayed(record: Path) -> str:
    """What `tlsnic replay` says, which must be content."""
    argv = [sys.executable, "-m", "tlsnic.qemu.cli", "replay", str(record)]
    argv += ["-c", "flows", "-c", "registers all", "-c", "diagnostics", "-c", "resync"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all as recorded" in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_tshark_reads_and_decrypts_a_guest_run_with_its_bus_by_name(tmp_path: Path) -> None:
    capture, keys = tmp_path / "card.pcapng", tmp_path / "keys"
    record = tmp_path / "card.record"
    make_files(tmp_path, SIZE_BYTES, seed=5)
    data = (tmp_path / "file").read_bytes()
    with tap_namespace(f"{FAR_ADDRESS}/{PREFIX}", tap=TAP, vnet_hdr=True) as far:

        def send() -> None:
            """OpenSSL sends the file to the guest, and tells its keys."""
            argv = ["openssl", "s_client", "-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"]
            argv += ["-connect", f"{NEAR_ADDRESS}:{PORT}", "-servername", NAME]
            argv += ["-CAfile", f"{tmp_path}/cert.pem", "-verify_return_error"]
            argv += ["-keylogfile", str(keys), "-quiet", "-no_ign_eof", "-nocommands"]
            with (tmp_path / "file").open("rb") as file:
                clients.append(far.call(lambda: subprocess.Popen(argv, stdin=file)))

        clients: list[subprocess.Popen[bytes]] = []
        try:
            result = run_in_guest(
                ["python3", "-c", IN_THE_GUEST, NEAR_ADDRESS, str(PORT), "/project/.launch"],
                device_cmd=device_argv(
                    f"tap:{TAP},netns={far.path}", capture=str(capture), record=str(record)
                ),
                on_call={"peer.send": send},
                files={name: tmp_path / name for name in ("cert.pem", "key.pem")},
                setup=prepare("tcg"),
                timeout_s=300,
            )
        finally:
            for client in clients:
                client.kill()
                client.wait()
    assert result.exit_status == 0, result.output + result.device_log
    assert result.output.split()[-2:] == [hashlib.sha256(data).hexdigest(), "True"]

    said = (result.device_log + result.console + replayed(record)).encode()
    for secret in secrets_of(keys):
        for form in (secret, secret[::-1], secret.hex().encode(), secret.hex(" ").encode()):
            for place in (capture.read_bytes(), record.read_bytes(), said):
                assert form not in place

    assert add_secrets(capture, keys)
    names = ("registers", "dma", "interrupts", "completions", "tls", "device", "wire")
    lines = tshark(
        capture, "-T", "fields", "-e", "frame.interface_name", "-e", "_ws.col.Info",
        "-e", "tlsnic.register.name", "-e", "tlsnic.dma.structure", "-e", "_ws.lua.error",
        "-e", "tlsnic.cut_short", "-e", "tlsnic.unknown",
    ).splitlines()  # fmt: skip
    rows = [line.split("\t") for line in lines]
    assert {row[0] for row in rows} == set(names)
    assert not any("".join(row[4:]) for row in rows)
    accesses = [row[2] for row in rows if row[0] == "registers"]
    registers = Counter(name for names in accesses for name in names.split(","))
    assert "" not in registers  # each access names a register
    assert registers["TX_DOORBELL_TAIL"] > 0
    assert registers["RX_DOORBELL_COMPLETION"] > 0
    structures = {row[3] for row in rows}
    assert {
        "tx_descriptor", "rx_descriptor", "rx_completion", "tls_flow_create_command", "response",
    } <= structures  # fmt: skip
    plain = tshark(
        capture, "-o", "tcp.reassemble_out_of_order:TRUE", "-q", "-z", "follow,tls,raw,0"
    )
    text = "".join(line.strip() for line in plain.splitlines() if set(line.strip()) <= HEX)
    assert data.hex() in text
    comments = tshark(capture, "-Y", "frame.comment contains \"rx: decrypted\"", "-T", "fields",
                      "-e", "frame.comment")  # fmt: skip
    assert len(comments.splitlines()) > SIZE_BYTES // 1448 // 2
    assert sum(1 for _ in read_trace(str(capture))) == len(rows)

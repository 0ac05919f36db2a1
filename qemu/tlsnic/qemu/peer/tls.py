"""tshark as a judge of TLS on the wire: what it decrypts, with the keys that OpenSSL logged."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tlsnic.device.wire.pcapng import Direction, PcapngWriter
from tlsnic.qemu.peer.checks import CheckFailed

_TIMEOUT_S = 50.0
_NODES = re.compile(r"Node 0: \S*:(\d+)\nNode 1: .*\n")
_STEP_NS = 1000


def decrypt(
    directory: Path, *, frames: Sequence[bytes], key_log: str, port: int = 443, streams: int = 1
) -> list[dict[str, list[bytes]]]:
    """What tshark makes of the TLS connections in `frames`: one entry each, in order of appearance.

    `key_log` is text in NSS format. `port` is the TCP port of the server. Frames may come out of
    order and more than once, but each connection needs its handshake. An entry's `from_client` and
    `from_server` are the application data of each record that could be decrypted, in stream order;
    nothing is read behind a record that is wrong.
    Raises CheckFailed when tshark is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="tshark-", dir=directory) as scratch:
        capture, keys = Path(scratch, "frames.pcapng"), Path(scratch, "keys")
        with PcapngWriter(capture) as writer:
            for number, frame in enumerate(frames):
                writer.write([frame], number * _STEP_NS, Direction.UNKNOWN)
        keys.write_text(key_log)
        options = [
            f"tls.keylog_file:{keys}",
            "tls.desegment_ssl_records:TRUE",
            "tcp.desegment_tcp_streams:TRUE",
            "tcp.reassemble_out_of_order:TRUE",
        ]
        argv = ["tshark", "-n", "-q", "-r", str(capture), "-d", f"tcp.port=={port},tls"]
        for option in options:
            argv += ["-o", option]
        for number in range(streams):
            argv += ["-z", f"follow,tls,raw,{number}"]
        output = _run(argv, scratch)
    return [_stream(text, port) for text in output.split("=" * 67 + "\n") if "Node 0" in text]


def _run(argv: Sequence[str], home: str) -> str:
    # A home of its own: the user's preferences are none of the test's business.
    environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment
        )
    except FileNotFoundError:
        raise CheckFailed("tshark is not installed: apt-get install tshark") from None
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"tshark takes more than {_TIMEOUT_S:g} s") from None
    if done.returncode:
        raise CheckFailed(f"tshark ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _stream(text: str, port: int) -> dict[str, list[bytes]]:
    """One `follow` report: a line of hexadecimal per record, behind a tab when node 1 sent it.

    Node 0 is whose record was decrypted first; node 1's address is not always told.
    """
    nodes = _NODES.search(text)
    if nodes is None:
        raise CheckFailed(f"tshark prints something unknown: {text[:200]}")
    sent: tuple[list[bytes], list[bytes]] = ([], [])
    for line in text[nodes.end() :].splitlines():
        sent[line.startswith("\t")].append(bytes.fromhex(line.strip()))
    is_server = int(nodes[1]) == port
    return {"from_client": sent[is_server], "from_server": sent[not is_server]}

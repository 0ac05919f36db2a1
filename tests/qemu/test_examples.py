"""The examples run: what they print, and their exit status, says that every byte came through."""

import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs_programs, needs_taps

from tlsnic.device.wire import PcapngReader

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 300
pytestmark = pytest.mark.usefixtures("libvfio_user")


def run(name, *options):
    command = [sys.executable, str(ROOT / "examples" / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_two_cards():
    assert "SHA-256 equal" in run("two_cards.py")


@pytest.mark.root
@needs_taps
@needs_programs("ip", "openssl")
@pytest.mark.parametrize("name", ["transmit.py", "receive.py"])
def test_tls_to_and_from_openssl(name, tmp_path):
    files = ("--pcap", str(tmp_path), "--bus", "--secrets")
    printed = run(name, "--size", "2", "--seed", "4", *files)
    assert printed.count("equal") == 2, printed
    assert "DIFFERENT" not in printed
    for version in ("1.2", "1.3"):
        assert f"TLS {version} TLS1" in printed
        for capture in (f"tls{version}.pcapng", f"tls{version}.card.pcapng"):
            with (tmp_path / capture).open("rb") as stream:
                reader = PcapngReader(stream, capture)
                assert len(list(reader)) > 1000
                assert len(reader.secrets) == 1


@pytest.mark.root
@needs_taps
@needs_programs("ip", "openssl", "curl")
def test_https_server():
    printed = run("https_server.py", "--size", "6", "--seed", "2")
    assert printed.count("equal") == 8, printed
    assert "DIFFERENT" not in printed
    for version in ("1.2", "1.3"):
        assert f"TLS {version} TLS1" in printed
    for how in ("by the card, sent by tlsnic0", "by the card, sent by tlsnic1", "in software"):
        assert printed.count(f"encrypted {how}") >= 2, printed
    assert " 0 of them in clear" in printed

"""This end: the driver's interface, its figures, and the programs of both ends."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tlsnic.qemu.channel import Channel
from tlsnic.qemu.conformance_handover import REPORT_METHOD
from tlsnic.qemu.conformance_report import Report
from tlsnic.qemu.peer.data import (
    FAR_ADDRESS,
    FAR_ADDRESS6,
    NEAR_ADDRESS,
    NEAR_ADDRESS6,
    PREFIX,
    PREFIX6,
)

__all__ = ["FAR_ADDRESS", "FAR_ADDRESS6", "NEAR_ADDRESS", "NEAR_ADDRESS6"]

LAUNCH = Path(os.environ["TLSNIC_LAUNCH"])
LOSSY = False
"""Whether the body that is being loaded will run over a bad wire."""
HOME = Path("/root")
AES128 = "ECDHE-ECDSA-AES128-GCM-SHA256"
AES256 = "ECDHE-ECDSA-AES256-GCM-SHA384"
CHACHA = "ECDHE-ECDSA-CHACHA20-POLY1305"
_DRIVER = Path("/sys/bus/pci/drivers/tlsnic")
_WAIT_S = 90.0

control = Channel.open(os.environ["TLSNIC_CONTROL"])


def run(*argv: str, wait_s: float = _WAIT_S, check: bool = True) -> str:
    """Both outputs of a program. AssertionError with them when it fails."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=wait_s,
        check=False,
        text=True,
        errors="replace",
    )
    assert not check or not done.returncode, f"{' '.join(argv)}: {done.stdout[-2000:]}"
    return done.stdout


def far(method: str, *, timeout_s: float = _WAIT_S + 10, **params: object) -> object:
    """Call a method of the far end (tlsnic.qemu.peer.linux_peer)."""
    return control.call(f"linux.{method}", params, timeout_s=timeout_s)


_WIRES = {
    "": None,
    "loss": {"loss": "1%"},
    "lossy": {"loss": "1%", "reorder": "1%", "duplicate": "1%"},
}
"""What wires do to frames, in both directions."""


def set_wire(name: str) -> None:
    """Use one of these wires from now on."""
    far("impair", settings=_WIRES[name], seed=7)


def tell(report: Report) -> None:
    """Hand the results to whoever started this guest."""
    control.call(REPORT_METHOD, {"report": report.to_json()})


def far_run(
    *argv: str, stdin: str = "", check: bool = True, wait_s: float = _WAIT_S
) -> dict[str, object]:
    """Run a program at the far end."""
    done = far("run", argv=list(argv), stdin=stdin, wait_s=wait_s, timeout_s=wait_s + 10)
    assert isinstance(done, dict)
    assert not check or not done["status"], f"{' '.join(argv)}: {done['text']} {done['error']}"
    return done


@contextlib.contextmanager
def far_server(*argv: str, port: int) -> Iterator[None]:
    """A server at the far end, meanwhile."""
    number = far("start", argv=list(argv), port=port)
    try:
        yield
    finally:
        far("stop", number=number)


@contextlib.contextmanager
def server(*argv: str, port: int, stdout: object = subprocess.DEVNULL) -> Iterator[None]:
    """A server at this end, meanwhile. It listens on all addresses."""
    process = subprocess.Popen(
        argv,
        # Open and silent: at its end `openssl s_server` would hang up.
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        cwd=HOME,
    )
    try:
        deadline_s = time.monotonic() + _WAIT_S
        while f":{port:04X} " not in _listening():
            assert process.poll() is None, f"{argv[0]} ended with status {process.returncode}"
            assert time.monotonic() < deadline_s, f"{argv[0]} does not listen on {port}"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=_WAIT_S)


def _listening() -> str:
    lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return "\n".join(line for line in lines.splitlines() if " 0A " in line)


# The driver and its interface


def interface() -> str:
    """The name of the card's network interface."""
    function = next(_DRIVER.glob("0000:*"))
    return next((function / "net").iterdir()).name


def function() -> Path:
    """The card in sysfs."""
    return next(_DRIVER.glob("0000:*")).resolve()


def load() -> None:
    """Load the driver."""
    run("modprobe", "tls")
    run("insmod", os.environ["TLSNIC_MODULE"])


def unload() -> None:
    """Unload the driver."""
    run("rmmod", "tlsnic")


def up() -> None:
    """Bring the interface up, with its addresses."""
    name = interface()
    run("ip", "link", "set", name, "up")
    run("ip", "address", "replace", f"{NEAR_ADDRESS}/{PREFIX}", "dev", name)
    run("ip", "address", "replace", f"{NEAR_ADDRESS6}/{PREFIX6}", "dev", name, "nodad")
    wait_for(lambda: Path(f"/sys/class/net/{name}/carrier").read_text() == "1\n", "link up")


def wait_for(condition: object, what: str, wait_s: float = 15.0) -> None:
    """Wait until `condition()` is true."""
    deadline_s = time.monotonic() + wait_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, f"{what}: not within {wait_s:g} s"
        time.sleep(0.02)


def ethtool(option: str, *words: str, check: bool = True) -> str:
    """`ethtool OPTION INTERFACE WORDS`."""
    return run("ethtool", option, interface(), *words, check=check)


def statistics() -> dict[str, int]:
    """`ethtool -S`."""
    found = re.findall(r"^\s+(\S+): (\d+)$", ethtool("-S"), re.M)
    return {name: int(value) for name, value in found}


def flows_left() -> int:
    """How many TLS flows the card has."""
    now = statistics()
    return sum(now[f"{way}_tls_ctx"] - now[f"{way}_tls_del"] for way in ("tx", "rx"))


def tls_stat() -> dict[str, int]:
    """/proc/net/tls_stat."""
    lines = Path("/proc/net/tls_stat").read_text().splitlines()
    return {name: int(value) for name, value in (line.split() for line in lines)}


class Changes:
    """What `statistics` and `tls_stat` count from now on."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> dict[str, int]:
        return {**statistics(), **tls_stat()}

    def __call__(self) -> dict[str, int]:
        now = self._now()
        return {name: value - self._before.get(name, 0) for name, value in now.items()}


# TLS


def prepare_files(size_bytes: int) -> None:
    """Certificate and key in HOME, and `data` of `size_bytes` for servers."""
    for name in ("cert.pem", "key.pem"):
        (HOME / name).write_bytes((LAUNCH / name).read_bytes())
    with (HOME / "data").open("wb") as file:
        left = size_bytes
        while left:
            left -= file.write(os.urandom(min(left, 1 << 20)))


def openssl_server(
    *options: str, port: int, suite: str = AES128, stdout: object = subprocess.DEVNULL
) -> contextlib.AbstractContextManager[None]:
    """`openssl s_server` at this end, with the kernel's TLS."""
    words = _openssl_server("-ktls", *options, port=port, suite=suite)
    return server(*words, port=port, stdout=stdout)


def far_openssl_server(
    *options: str, port: int, suite: str = AES128
) -> contextlib.AbstractContextManager[None]:
    """`openssl s_server` at the far end, TLS in its own process."""
    return far_server(*_openssl_server(*options, port=port, suite=suite), port=port)


def _openssl_server(*options: str, port: int, suite: str) -> Sequence[str]:
    words = ["openssl", "s_server", "-accept", str(port), "-tls1_2", "-cipher", suite]
    return [*words, "-cert", "cert.pem", "-key", "key.pem", *options]


def client_context(suite: str = AES128) -> ssl.SSLContext:
    """For clients at this end: OpenSSL with the kernel's TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_ENABLE_KTLS
    context.set_ciphers(suite)
    return context


def curl(port: int, name: str = "data", address: str = NEAR_ADDRESS) -> Mapping[str, object]:
    """Have the far end fetch a file from this end's HTTPS server on `port`."""
    host = f"[{address}]" if ":" in address else address
    url = f"https://{host}:{port}/{name}"
    return far_run("curl", "--silent", "--show-error", "--insecure", "--tls-max", "1.2", url)

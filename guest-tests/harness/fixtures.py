"""Fixtures: the card, its bus, the far end of the wire, repetition counts, clean-up."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.environment import SIDE_GUEST, Environment, open_environment
from harness.peer import Peer
from harness.plugin import DETAILS, ENVIRONMENT
from harness.tls_flows import TlsFlows
from harness.watch import Watch, check_nothing_lost
from tlsnic.abi.enums import Diagnostic, EventMask
from tlsnic.driver.bus import Bus, open_bus
from tlsnic.driver.nic import Nic, NicOptions

ExpectDiagnostic = Callable[..., None]
# Small rings: they wrap often, and attaching stays cheap in an emulated guest.
_DEFAULTS: dict[str, Any] = {
    "tx_entries": 64,
    "rx_entries": 64,
    "admin_entries": 16,
    "event_entries": 256,
    "tx_bounce_bytes": 1 << 18,
    "events": EventMask.LINK | EventMask.QUEUE | EventMask.TLS | EventMask.DIAGNOSTIC,
}


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest) -> Environment:
    """Where the suite runs; see `harness.environment`. The plugin closes it, after its report."""
    opened = open_environment()
    request.config.stash[ENVIRONMENT] = opened
    return opened


@pytest.fixture(scope="session")
def session_bus(environment: Environment) -> Iterator[Bus]:
    """The way to the card, open for the whole session."""
    environment.call("wire.await_link")  # so that the wire's descriptors are all there
    with open_bus(environment.bus_spec) as opened:
        yield opened


@pytest.fixture
def bus(session_bus: Bus) -> Iterator[Bus]:
    """The card's PCI function, for raw access. DMA memory and descriptors must not leak."""
    memory_bytes = session_bus.dma_live_bytes
    descriptors = set(os.listdir("/proc/self/fd"))
    yield session_bus
    left_bytes = session_bus.dma_live_bytes - memory_bytes
    assert left_bytes == 0, f"{left_bytes} bytes of DMA memory were not freed"
    left = [_target(fd) for fd in set(os.listdir("/proc/self/fd")) - descriptors]
    # Memory that the bus keeps for later buffers is no leak.
    left = [target for target in left if target and "tlsnic-dma" not in target]
    assert not left, f"descriptors were not closed: {left}"


def _target(descriptor: str) -> str:
    """What a file descriptor of this process refers to; empty when it is closed by now."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


@pytest.fixture
def peer(environment: Environment) -> Iterator[Peer]:
    """The far end of the wire, plugged in, fine and empty."""
    far = Peer(environment)
    far.make_ready()
    yield far
    far.restore()


@pytest.fixture
def nic_options(request: pytest.FixtureRequest) -> NicOptions:
    """What `nic` is made with: `@pytest.mark.nic(rx_queues=8, ...)` over small defaults."""
    chosen = dict(_DEFAULTS)
    for marker in reversed(list(request.node.iter_markers("nic"))):
        chosen.update(marker.kwargs)
    return NicOptions(**chosen)


@pytest.fixture
def nic(bus: Bus, peer: Peer, nic_options: NicOptions) -> Iterator[Nic]:
    """The card, fresh from a reset, link up and running. Checked for losses after the test.

    The watch that goes with it fails a test with a diagnostic that it did not expect.
    """
    with Nic.attach(bus, nic_options) as attached:
        await_link(attached)
        attached.events.drain()
        attached.events.events.clear()
        attached_watch = Watch(attached)
        _WATCHES[attached] = attached_watch
        try:
            yield attached
            check_nothing_lost(attached)
            attached_watch.checkpoint()
        finally:
            del _WATCHES[attached]


_WATCHES: dict[Nic, Watch] = {}


def wait_for(done: Callable[[], bool], what: str, timeout_s: float = 5.0) -> None:
    """Until `done()`, which looks at the card; fails at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.001)


def await_link(nic: Nic, up: bool = True) -> None:
    """Wait until the card says that its link is up (or down)."""
    wait_for(lambda: nic.link_up is up, f"link {'up' if up else 'down'}")


@pytest.fixture
def watch(nic: Nic) -> Watch:
    """The diagnostics of `nic`."""
    return _WATCHES[nic]


@pytest.fixture
def expect_diagnostic(watch: Watch) -> ExpectDiagnostic:
    """`expect_diagnostic(code, count=1)`: the test provokes it just so many times."""

    def expect(code: Diagnostic, count: int = 1) -> None:
        watch.expect(code, count)

    return expect


@pytest.fixture
def flows(nic: Nic, peer: Peer) -> Iterator[TlsFlows]:
    """TLS flows of `nic`; every frame is scanned for plaintext, and none may be left over."""
    opened = TlsFlows(nic, peer)
    yield opened
    opened.close()


@pytest.fixture
def scale(environment: Environment, request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`scale(1000, 40)`: how often to repeat, on the host and in a guest, which is slow.

    The number goes into the report.
    """

    def choose(host: int, guest: int) -> int:
        count = guest if environment.side == SIDE_GUEST else host
        request.node.stash.setdefault(DETAILS, {})["count"] = count
        return count

    return choose


@pytest.fixture
def defer() -> Iterator[Callable[..., None]]:
    """`defer(function, *arguments)`: called when the test is over, last first, whatever happens."""
    with contextlib.ExitStack() as stack:
        yield lambda function, *arguments: stack.callback(function, *arguments) and None

"""The stream wires against QEMU itself: two `-netdev stream` joined by a hub, no guest needed."""

from __future__ import annotations

import random
import select
import subprocess
import time
from pathlib import Path

import pytest

from tlsnic.device.wire import MAX_FRAME_BYTES, StreamWire, open_unix, open_unix_listener
from tlsnic.qemu import parts

FRAME_SIZES = (14, 60, 1514, 9018, 65000, MAX_FRAME_BYTES)
PROBE = b"probe" * 12


def qemu_command() -> list[str]:
    try:
        return list(parts.qemu(make=False).argv_prefix)
    except parts.PartError as error:
        pytest.skip(f"no QEMU at hand: {error}")


def test_qemu_forwards_frames_of_every_size_and_takes_the_link_down(tmp_path: Path) -> None:
    near, far = str(tmp_path / "a"), str(tmp_path / "b")
    command = qemu_command()
    command += ["-machine", "none", "-nodefaults", "-display", "none"]
    command += ["-netdev", f"stream,id=a,server=off,addr.type=unix,addr.path={near}"]
    command += ["-netdev", f"stream,id=b,server=on,addr.type=unix,addr.path={far}"]
    command += ["-netdev", "hubport,id=ha,hubid=0,netdev=a"]
    command += ["-netdev", "hubport,id=hb,hubid=0,netdev=b"]
    generator = random.Random(1)
    got: dict[StreamWire, list[bytes]] = {}
    with open_unix_listener(near) as one, open_unix(far) as two:
        wires = (one, two)

        def turn() -> None:
            descriptors = [wire.fileno() for wire in wires]
            select.select(descriptors, [], [], 0.05)
            for wire in wires:
                frames = got.setdefault(wire, [])
                wire.receive(lambda view, _, to=frames: to.append(bytes(view)), 8, time.time_ns())

        qemu = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 60
            while not (one.link_up and two.link_up):
                assert time.monotonic() < deadline
                assert qemu.poll() is None
                turn()
            # A connection waits in QEMU's backlog before QEMU takes it, and until then QEMU drops
            # what is meant for it. So probe both ways first.
            while not (got.get(one) and got.get(two)):
                assert time.monotonic() < deadline
                for wire in wires:
                    assert wire.send((PROBE,), None, 0)
                turn()
            for size in FRAME_SIZES:
                for source, target in (wires, wires[::-1]):
                    frame = generator.randbytes(size)
                    got[target].clear()
                    assert source.send((frame,), None, 0)
                    while not set(got[target]) - {PROBE}:
                        assert time.monotonic() < deadline
                        turn()
                    assert [data for data in got[target] if data != PROBE] == [frame]
        finally:
            qemu.terminate()
            qemu.communicate(timeout=30)
        while one.link_up or two.link_up:
            assert time.monotonic() < deadline
            turn()

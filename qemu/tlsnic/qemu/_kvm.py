"""Finding out whether /dev/kvm runs a guest, by booting one.

The device file proves little: inside some virtual machines it opens, answers every question, and
then fails to emulate an instruction of the kernel's decompressor.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tlsnic.qemu import parts
from tlsnic.qemu.parts import Qemu

_DEVICE = "/dev/kvm"
_TIMEOUT_S = 10.0
_ALIVE = b"Linux version"
_DEAD = (b"KVM internal error", b"emulation failure", b"KVM: entry failed")


@dataclass(frozen=True)
class Problem:
    """Why KVM cannot be used, and what could be done about it ("" when nothing can).

    `lasting` says that the same try would end the same way until something changes.
    """

    what: str
    fix: str = ""
    lasting: bool = False


def problem(qemu: Qemu, kernel: Path, *, afresh: bool = False) -> Problem | None:
    """Why `qemu` cannot run `kernel` under KVM, or None when it can.

    Boots the kernel without a disk until it prints its first line, at most 10 seconds. A broken
    KVM takes seconds to show, so that answer is kept in the cache until the machine reboots or
    QEMU, the kernel or the device file change; `afresh` asks again. A good or an unclear answer
    (nothing printed in time) is never kept.
    """
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Problem("there is no /dev/kvm", "load kvm_intel or kvm_amd, or enable nested VMs")
    except PermissionError:
        return Problem("no permission for /dev/kvm", "add the user to the group kvm, log in again")
    except OSError as error:
        return Problem(f"/dev/kvm: {error.strerror}")
    kept = parts.cache_root() / "kvm.json"
    situation = _situation(qemu, kernel)
    if not afresh:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            answer = json.loads(kept.read_text())
            if answer["situation"] == situation:
                return Problem(str(answer["what"]))
    found = _boot(qemu.argv_prefix, kernel)
    with contextlib.suppress(OSError):
        if found is not None and found.lasting:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({"situation": situation, "what": found.what}))
        else:
            kept.unlink(missing_ok=True)
    return found


def _situation(qemu: Qemu, kernel: Path) -> list[object]:
    """What an answer holds for: this boot of the machine, this QEMU, this kernel."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    device, image = os.stat(_DEVICE), kernel.stat()
    return [
        boot,
        list(qemu.argv_prefix),
        list(qemu.version),
        [device.st_ino, device.st_ctime_ns],
        [str(kernel), image.st_size, image.st_mtime_ns],
    ]


def _boot(argv_prefix: tuple[str, ...], kernel: Path) -> Problem | None:
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += ["-accel", "kvm", "-cpu", "host", "-m", "256", "-serial", "stdio"]
    words += ["-kernel", str(kernel), "-append", "console=ttyS0 earlyprintk=serial panic=-1"]
    process = subprocess.Popen(
        [*argv_prefix, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        return _watch(process)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _watch(process: subprocess.Popen[bytes]) -> Problem | None:
    assert process.stdout is not None
    deadline_s = time.monotonic() + _TIMEOUT_S
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := deadline_s - time.monotonic()) > 0:
            if not selector.select(left_s):
                break
            chunk = os.read(process.stdout.fileno(), 65536)
            seen += chunk
            if _ALIVE in seen:
                return None
            dead = next((text for text in _DEAD if text in seen), None)
            if dead is not None:
                return Problem(f"a guest does not start ({dead.decode()})", lasting=True)
            if not chunk:
                lines = seen.decode(errors="replace").strip().splitlines()
                return Problem(f"QEMU ended: {lines[-1] if lines else 'without a word'}")
    return Problem(f"a guest printed nothing within {_TIMEOUT_S:.0f} s")

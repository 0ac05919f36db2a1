"""examples/shell.py: every command under load, at a prompt and by a script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tlsnic.device.shell.table import COMMANDS
from tlsnic.qemu.parts import PartError, libvfio_user_path

EXAMPLE = Path(__file__).parents[3] / "examples" / "shell.py"
MOST_S = 300


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/net/tun"),
    reason="making TAP devices and network namespaces needs root and /dev/net/tun",
)
@pytest.mark.skipif(
    not all(map(shutil.which, ("ip", "openssl", "bash"))), reason="ip, openssl or bash is missing"
)
def test_every_command_under_load():
    try:
        libvfio_user_path(make=False)
    except PartError as error:
        pytest.skip(f"libvfio-user is not there: {error}")
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for name in COMMANDS:
        assert f"tlsnic> {name}" in done.stdout

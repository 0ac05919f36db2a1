"""examples/shell.py: every command under load, at a prompt and by a script."""

import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs_programs, needs_taps

from tlsnic.device.shell.table import COMMANDS

EXAMPLE = Path(__file__).parents[3] / "examples" / "shell.py"
MOST_S = 300


@pytest.mark.slow
@pytest.mark.root
@needs_taps
@needs_programs("ip", "openssl", "bash")
@pytest.mark.usefixtures("libvfio_user")
def test_every_command_under_load():
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for name in COMMANDS:
        assert f"tlsnic> {name}" in done.stdout

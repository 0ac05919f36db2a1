"""Trying out what this machine lets a user do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

AS_MAPPED_ROOT: Final = ("unshare", "--user", "--map-root-user")
"""What runs a user's command as root of a user namespace, where the kernel allows that."""


def works(command: Sequence[str]) -> bool:
    """Whether a quick command is there and ends well; nothing of it is shown."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False

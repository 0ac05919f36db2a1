"""Root in a user namespace of one's own, so that network namespaces and TAPs need no sudo.

`python -m tlsnic.qemu.userns COMMAND…` runs the command there; as root, or where the kernel does not
allow such namespaces, just as it is. Files that the command makes belong to the user as always.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

_UNSHARE: Final = ("unshare", "--user", "--map-root-user")


def allowed() -> bool:
    """Whether this user may be root in an own user namespace, network namespaces included."""
    if shutil.which(_UNSHARE[0]) is None:
        return False
    probe = [*_UNSHARE, "--net", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def wrapped(command: Sequence[str]) -> list[str]:
    """`command` as it has to be run to be root, if only in a namespace, where that is possible."""
    if os.geteuid() == 0 or not allowed():
        return list(command)
    return [*_UNSHARE, "--", *command]


def main(command: Sequence[str]) -> int:
    """Become `command`. Exit status 2 without one, 127 when it is not found."""
    if not command:
        print("usage: python -m tlsnic.qemu.userns COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    words = wrapped(command)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        print(f"tlsnic: cannot run {words[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

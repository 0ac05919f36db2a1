"""The rights to make network namespaces and TAPs, for a user who is not root.

`python -m tlsnic.qemu.rights COMMAND…` runs the command with them, in the first of these ways that works:

* as it is, for root;
* as root of an own user namespace, where the kernel allows that and /dev/net/tun is open to all (Debian's
  default);
* through sudo, as the user, with only the capabilities that are needed;
* as it is: what needs the rights then says so.

Files that the command makes belong to the user in every case.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from tlsnic.qemu._probe import AS_MAPPED_ROOT, works

TUN: Final = "/dev/net/tun"
# Namespaces; TAPs and addresses; a /dev/net/tun that is root's; ping.
_CAPABILITIES: Final = "+sys_admin,+net_admin,+dac_override,+net_raw"
_KEPT_VARIABLES: Final = ("PATH", "HOME", "USER", "TERM", "LANG", "TMPDIR", "CI")
_KEPT_PREFIXES: Final = ("TLSNIC_", "XDG_", "LC_")


def namespace_suffices() -> bool:
    """Whether root of an own user namespace may make network namespaces and TAPs."""
    return os.access(TUN, os.R_OK | os.W_OK) and works([*AS_MAPPED_ROOT, "--net", "true"])


def through_sudo(command: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """`command` as the same user with the capabilities; sudo forgets variables, so they are named."""
    kept = [
        f"{name}={value}"
        for name, value in environment.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    ]
    identity = [f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups"]
    rights = [f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}"]
    return ["sudo", "--", "setpriv", *identity, *rights, "--", "env", *kept, *command]


def wrapped(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` with the rights, where they can be had."""
    if os.geteuid() == 0:
        return list(command)
    if namespace_suffices():
        return [*AS_MAPPED_ROOT, "--", *command]
    if shutil.which("sudo") is not None:
        return through_sudo(command, os.environ)
    return list(command)


def main(command: Sequence[str]) -> int:
    """Become `command`. Exit status 2 without one, 127 when it is not found."""
    if not command:
        print("usage: python -m tlsnic.qemu.rights COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    words = wrapped(command)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        print(f"tlsnic: cannot run {words[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

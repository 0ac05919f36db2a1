"""Switch live connections between software and NIC TLS, as FreeBSD's tools/tools/switch_tls does.

    python -m tlsnic.driver.ktls.switch_tls -c SOCKET -s 10.0.0.1 443 10.0.0.2 40000
    python -m tlsnic.driver.ktls.switch_tls -c SOCKET -i -a
    python -m tlsnic.driver.ktls.switch_tls -c SOCKET -l

-s: software TLS; -i: NIC (ifnet) TLS; -a: all connections with TLS; -l: list what -a would switch.
SOCKET is the control socket of the process with the connections, by default what
TLSNIC_KTLS_CONTROL says. Exit status 1 when a connection could not be switched.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tlsnic.driver.ktls.control import Request, ask


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="switch_tls", description="Switch connections between software and NIC TLS."
    )
    parser.add_argument(
        "-c",
        dest="control",
        metavar="SOCKET",
        default=os.environ.get("TLSNIC_KTLS_CONTROL"),
        help="control socket (TLSNIC_KTLS_CONTROL)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("-s", dest="mode", action="store_const", const="sw", help="software TLS")
    mode.add_argument("-i", dest="mode", action="store_const", const="ifnet", help="NIC TLS")
    parser.add_argument("-a", dest="all", action="store_true", help="all connections with TLS")
    parser.add_argument("-l", dest="list", action="store_true", help="list them")
    parser.add_argument(
        "connection",
        nargs="*",
        metavar="ADDRESS",
        help="local address, local port, foreign address, foreign port",
    )
    options = parser.parse_args(arguments)
    if not options.control:
        parser.error("which control socket? (-c)")
    wanted = len(options.connection) == 4 and options.mode
    if not (wanted or (options.all and options.mode) or options.list) or (
        options.connection and not wanted
    ):
        parser.error("-s or -i with a connection or -a, or -l")
    try:
        if options.connection:
            here, here_port, there, there_port = options.connection
            one = {"local": [here, int(here_port)], "remote": [there, int(there_port)]}
            return _switch(options.control, options.mode, [one])
        found = [one for one in ask(options.control, {"op": "list"}) if one["tx"] != "none"]
    except (OSError, ValueError) as error:
        print(f"switch_tls: {error}", file=sys.stderr)
        return 1
    if options.list:
        for one in found:
            print(*one["local"], *one["remote"], one["tx"], one["ifp"])
        return 0
    return _switch(options.control, options.mode, found)


def _switch(control: str, mode: str, connections: list[Request]) -> int:
    status = 0
    for one in connections:
        name = " ".join(map(str, (*one["local"], *one["remote"])))
        request = {"op": "switch_tls", "mode": mode, "local": one["local"], "remote": one["remote"]}
        try:
            ask(control, request)
        except OSError as error:
            print(f"switch_tls: {name}: {error.strerror}", file=sys.stderr)
            status = 1
        else:
            print(f"{name}: {mode}")
    return status


if __name__ == "__main__":
    sys.exit(main())

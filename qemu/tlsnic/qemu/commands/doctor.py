"""`tlsnic doctor`: the command line of the doctor's checks."""

import argparse
from pathlib import Path

from tlsnic.qemu import doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tlsnic doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument(
        "--socket",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="also look whether this socket is free, in use or stale (repeatable)",
    )


def main(args: argparse.Namespace) -> int:
    """Exit status 0 when everything needed works, else 1."""
    return doctor.run(args.json, sockets=args.socket)

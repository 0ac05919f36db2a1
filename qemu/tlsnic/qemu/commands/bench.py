"""`tlsnic bench`: speed and memory, each figure beside its baseline of the same run.

The benchmarks are in the source tree's folder `bench/`, which is not installed.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tlsnic.qemu.errors import UserError

DEFAULT_ROUNDS = 9
_PLAIN_WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tlsnic bench`."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these (default: all that measure speed)"
    )
    parser.add_argument("--list", action="store_true", help="say which there are, and run none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="with loss, ktls or guest: also draw it here, as SVG",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=DEFAULT_ROUNDS,
        help="rounds whose median is taken (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Exit status 0 when everything ran: a missed target is a finding, not a failure."""
    root = Path(__file__).resolve().parents[4]
    if not (root / "bench" / "suite.py").is_file():
        raise UserError(
            "the benchmarks are in the project's source tree, and this is an installed copy",
            "clone the repository and install it with `pip install -e .`",
        )
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: at least one is needed", "give a number above 0")
    sys.path.insert(0, str(root))
    # The folder is not installed, so it can only be imported now.
    from bench import guest_report, ktls_report, loss_report, report, suite  # noqa: PLC0415
    from bench.guest import GuestRow  # noqa: PLC0415
    from bench.ktls import KtlsRow  # noqa: PLC0415
    from bench.loss import LossRow  # noqa: PLC0415
    from bench.measure import Effort, Row  # noqa: PLC0415

    if args.list:
        for name, benchmark in suite.BENCHMARKS.items():
            print(f"{name:18}{benchmark.what}")
        return 0
    unknown = [name for name in args.names if name not in suite.BENCHMARKS]
    if unknown:
        raise UserError(
            f"no benchmark is called {', '.join(unknown)}",
            f"choose of {', '.join(suite.BENCHMARKS)}",
        )
    if args.plot is not None and len({"loss", "ktls", "guest"} & set(args.names)) != 1:
        raise UserError(
            "--plot draws one benchmark, loss, ktls or guest",
            "name it: tlsnic bench loss --plot FILE",
        )
    rows: list[Row] = []
    # A file or a log has no width: wide enough there for no name to be cut.
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    with console.status("measuring") as status:
        for name, found in suite.run(args.names, Effort(rounds=args.rounds)):
            rows += found
            status.update(f"measured {name}")
    shares = [row for row in rows if isinstance(row, LossRow)]
    ways = [row for row in rows if isinstance(row, KtlsRow)]
    served = [row for row in rows if isinstance(row, GuestRow)]
    others = [row for row in rows if not isinstance(row, LossRow | KtlsRow | GuestRow)]
    if others:
        report.show(others, console)
    if shares:
        loss_report.show(shares, console)
    if ways:
        ktls_report.show(ways, console)
    if served:
        guest_report.show(served, console)
    if args.plot is not None:
        if shares:
            loss_report.plot(shares, args.plot)
        elif served:
            guest_report.plot(served, args.plot)
        else:
            ktls_report.plot(ways, args.plot)
    if args.json is not None:
        report.save(rows, args.json)
    return 0

"""`tlsnic timeline`: pictures of what TLS offload did to each connection in a capture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tlsnic.abi.enums import TlsDirection
from tlsnic.device.trace.reader import read_trace

from .html import write_html
from .model import Flow
from .png import write_png
from .reading import read_flows
from .summary import describe, summarize

DESCRIPTION: Final = """\
Draw, for each TLS flow in a device capture (tlsnic device --capture), TCP sequence against time,
coloured by what the card did to each range of bytes. Without -o or --json the figures are printed.
"""


class TimelineError(Exception):
    """Something that the person can mend: `what` is wrong, and the `fix`."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}; fix: {fix}")
        self.what = what
        self.fix = fix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tlsnic timeline`."""
    parser.description = DESCRIPTION
    parser.add_argument("capture", type=Path, help="a capture of the device (pcapng)")
    parser.add_argument(
        "--flow",
        action="append",
        metavar="FLOW",
        help="only this flow: its handle (0x40001), a port or address of it, or rx or tx; "
        "several: any of them",
    )
    parser.add_argument(
        "-o",
        "--output",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="write a picture of one flow (FILE.png) or a page with all flows (FILE.html)",
    )
    parser.add_argument(
        "--window",
        metavar="FROM:TO",
        help="in the PNG only these times, in milliseconds from the flow's beginning",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def main(arguments: argparse.Namespace) -> int:
    """Exit status 0.

    Raises:
        TimelineError: the capture has no such flow, or a file cannot be written.
        WireError: the capture cannot be read, or is damaged.
    """
    for path in arguments.output:
        if path.suffix not in (".png", ".html"):
            raise TimelineError(f"{path}: neither .png nor .html", "name the file so")
    window = None if arguments.window is None else _window(arguments.window)
    flows = choose(read_flows(read_trace(str(arguments.capture))), arguments.flow)
    for path in arguments.output:
        try:
            if path.suffix == ".html":
                write_html(flows, path, arguments.capture.name)
            else:
                _write_pngs(flows, path, window)
        except OSError as error:
            raise TimelineError(
                f"cannot write {path}: {error.strerror}", "choose another file"
            ) from error
    if arguments.json:
        json.dump([summarize(flow) for flow in flows], sys.stdout, indent=1)
        print()
    elif not arguments.output:
        print("\n".join(map(describe, flows)))
    return 0


def choose(flows: Sequence[Flow], wanted: Sequence[str] | None) -> list[Flow]:
    """The flows that are asked for.

    Raises:
        TimelineError: there are none.
    """
    if not flows:
        raise TimelineError(
            "this capture has no TLS flows",
            "capture with `tlsnic device --capture FILE`: a capture of the wire alone does not "
            "have what the card did",
        )
    found = [flow for flow in flows if wanted is None or any(_is(flow, text) for text in wanted)]
    if not found:
        names = "; ".join(f"{flow.handle:#x} {flow.title}" for flow in flows)
        raise TimelineError(f"no flow is {' or '.join(wanted or ())}", f"choose of: {names}")
    return found


def _is(flow: Flow, text: str) -> bool:
    directions = {"rx": TlsDirection.RECEIVE, "tx": TlsDirection.TRANSMIT}
    if text in directions:
        return flow.direction is directions[text]
    names = {flow.local, flow.remote}
    for end in (flow.local, flow.remote):
        address, _, port = end.rpartition(":")
        names |= {address.strip("[]"), port}
    try:
        return text in names or int(text, 0) == flow.handle
    except ValueError:
        return False


def _window(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        window = float(low), float(high)
    except ValueError:
        window = (0.0, 0.0)
    if not window[0] < window[1]:
        raise TimelineError(
            f"--window {text}: no span of time", "give two numbers: --window 10:12.5"
        )
    return window


def _write_pngs(flows: Sequence[Flow], path: Path, window: tuple[float, float] | None) -> None:
    """One picture for each flow: FILE.png, and with several FILE-2.png and so on."""
    for number, flow in enumerate(flows, 1):
        target = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        times = None
        if window is not None:
            low, high = (flow.begin_ns + round(one * 1e6) for one in window)
            times = low, high
        try:
            write_png(flow, target, times)
        except ImportError as error:
            raise TimelineError(
                "PNGs are drawn by matplotlib, which is not installed",
                f"{sys.executable} -m pip install matplotlib; or write .html, which needs nothing",
            ) from error

"""device.*: what the card is, and resets."""

import importlib.metadata
import os
from typing import Final

from tlsnic.abi import registers as r
from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import ControlError, ErrorName, Json, Kind, Method, Param

MAX_MARK: Final = 1000


def version() -> str:
    """Version of the package; "0" for a tree that was never installed."""
    try:
        return importlib.metadata.version("tlsnic")
    except importlib.metadata.PackageNotFoundError:
        return "0"


_VERSION: Final = version()


def info(card: Card) -> Json:
    """What and how the card is."""
    nic = card.nic
    now_ns = card.clock_ns()
    control = nic.registers.get("CONTROL")
    return {
        "version": _VERSION,
        "pid": os.getpid(),
        "uptime_s": (now_ns - card.started_ns) / 1e9,
        **card.identity(),
        "link_up": nic.link_up,
        "link_mbps": nic.config.link_mbps,
        "client": card.client,
        "reset_count": nic.reset_count,
        "tx_enabled": bool(control & r.CONTROL_TX_ENABLE_MASK),
        "rx_enabled": bool(control & r.CONTROL_RX_ENABLE_MASK),
        "bus_master": card.host.bus_master,
        "msix_enabled": card.host.msix_enabled,
        "intx_asserted": nic.interrupts.intx_line,
        "flows": len(nic.flows),
        "now_ns": now_ns,
    }


def reset(card: Card, kind: str) -> Json:
    """Reset the card."""
    card.core.advance(card.clock_ns())
    if kind == "soft":
        control = card.nic.registers.get("CONTROL")
        card.core.write(0, r.CONTROL, 4, control | r.CONTROL_RESET_MASK)
    else:
        card.reset_function()
    return {"reset_count": card.nic.reset_count}


def mark(card: Card, text: str) -> Json:
    """Put a text into the trace."""
    if len(text) > MAX_MARK:
        raise ControlError(ErrorName.BAD_PARAMETER, f"text has up to {MAX_MARK} characters")
    return {"taken": card.mark(text.encode("utf-8", "replace").decode("utf-8"))}


METHODS: Final = (
    Method(
        "device.info",
        info,
        "What the card is and how it stands.",
        "{version, pid, uptime_s, card, socket, wire, mac, link_up, link_mbps, client: listening | "
        "negotiating | attached | quiescing | none, reset_count, tx_enabled, rx_enabled, bus_master, "
        "msix_enabled, intx_asserted, flows, now_ns}",
    ),
    Method(
        "device.reset",
        reset,
        "Reset the card. `soft`: as CONTROL.RESET does. `function`: as a function level reset, "
        "which also clears the PCI command register and MSI-X Enable. A driver is told of neither.",
        "{reset_count}",
        (Param("kind", Kind.STRING, "soft or function", "soft", choices=("soft", "function")),),
        changes=True,
    ),
    Method(
        "device.mark",
        mark,
        "Put a text into the card's trace, so that the place is found again in captures and "
        "records.",
        "{taken: whether anything listens to the trace}",
        (Param("text", Kind.STRING, f"up to {MAX_MARK} characters"),),
    ),
)

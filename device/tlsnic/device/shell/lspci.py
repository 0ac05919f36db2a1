"""PCI configuration space, decoded: the lines of `lspci -vvv` (pciutils 3.13), and their values.

PCI Local Bus 3.0 chapter 6, PCI Power Management 1.2, PCI Express Base 5.0 section 7.5, MSI-X in
PCI 3.0 section 6.8.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tlsnic.device.shell.decode import BARS

Bits = Sequence[tuple[str, int]]

COMMAND: Final[Bits] = (
    *(("I/O", 0), ("Mem", 1), ("BusMaster", 2), ("SpecCycle", 3), ("MemWINV", 4), ("VGASnoop", 5)),
    *(("ParErr", 6), ("Stepping", 7), ("SERR", 8), ("FastB2B", 9), ("DisINTx", 10)),
)
_STATUS_LOW: Final[Bits] = (("Cap", 4), ("66MHz", 5), ("UDF", 6), ("FastB2B", 7), ("ParErr", 8))
_STATUS_HIGH: Final[Bits] = (
    *((">TAbort", 11), ("<TAbort", 12), ("<MAbort", 13), (">SERR", 14), ("<PERR", 15), ("INTx", 3)),
)
_DEVSEL: Final = ("fast", "medium", "slow", "??")
_DEVCAP: Final[Bits] = (
    *(("ExtTag", 5), ("AttnBtn", 12), ("AttnInd", 13)),
    *(("PwrInd", 14), ("RBE", 15), ("FLReset", 28)),
)
_DEVCTL: Final[Bits] = (
    *(("RlxdOrd", 4), ("ExtTag", 8), ("PhantFunc", 9)),
    *(("AuxPwr", 10), ("NoSnoop", 11)),
)
_LNKCAP: Final[Bits] = (
    *(("ClockPM", 18), ("Surprise", 19)),
    *(("LLActRep", 20), ("BwNot", 21), ("ASPMOptComp", 22)),
)
_LNKCTL: Final[Bits] = (
    *(("ExtSynch", 7), ("ClockPM", 8)),
    *(("AutWidDis", 9), ("BWInt", 10), ("AutBWInt", 11)),
)
_LNKSTA: Final[Bits] = (
    *(("TrErr", 10), ("Train", 11), ("SlotClk", 12)),
    *(("DLActive", 13), ("BWMgmt", 14), ("ABWMgmt", 15)),
)
_LINK_SPEEDS: Final = {1: "2.5", 2: "5", 3: "8", 4: "16", 5: "32", 6: "64"}
_L0S: Final = ("<64ns", "<128ns", "<256ns", "<512ns", "<1us", "<2us", "<4us", "unlimited")
_L1: Final = ("<1us", "<2us", "<4us", "<8us", "<16us", "<32us", "<64us", "unlimited")
_ASPM: Final = ("not supported", "L0s", "L1", "L0s L1")
_ASPM_ENABLED: Final = ("Disabled", "L0s Enabled", "L1 Enabled", "L0s L1 Enabled")
_EXPRESS_TYPES: Final = {0: "Endpoint", 1: "Legacy Endpoint", 4: "Root Port"}
_CAPABILITIES: Final = {
    1: "Power Management",
    5: "MSI",
    9: "Vendor Specific Information",
    16: "Express",
    17: "MSI-X",
}
_TIMEOUT_RANGES: Final = {
    0: "50us to 50ms",
    1: "50us to 100us",
    2: "1ms to 10ms",
    5: "16ms to 55ms",
    6: "65ms to 210ms",
    9: "260ms to 900ms",
    10: "1s to 3.5s",
    13: "4s to 13s",
    14: "17s to 64s",
}
_DEVCTL2: Final[Bits] = (
    *(("IDOReq", 8), ("IDOCompl", 9), ("LTR", 10), ("EmergencyPowerReductionReq", 11)),
)
_MARGINS: Final = {0: "Normal Operating Range"}
_PRESETS: Final = {
    0: "-6dB de-emphasis, 0dB preshoot",
    1: "-3.5dB de-emphasis, 0dB preshoot",
}
_EQUALIZATION: Final[Bits] = (
    *(("EqualizationPhase2", 3), ("EqualizationPhase3", 4), ("LinkEqualizationRequest", 5)),
)
_HEADER_BYTES: Final = 64


def flags(value: int, bits: Bits) -> str:
    """Bits as lspci writes them: a plus behind those that are set, a minus behind the others."""
    return " ".join(f"{name}{'+' if value >> bit & 1 else '-'}" for name, bit in bits)


def flag_values(value: int, bits: Bits) -> dict[str, bool]:
    """The same for programs."""
    return {name: bool(value >> bit & 1) for name, bit in bits}


@dataclass(frozen=True)
class Capability:
    """One entry of the list of capabilities."""

    offset: int
    id: int
    name: str
    lines: tuple[str, ...]
    """The first without the offset, the others indented by two tabs or more."""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Function:
    """Configuration space of one function."""

    data: bytes
    capabilities: tuple[Capability, ...]

    def u8(self, offset: int) -> int:
        """One byte."""
        return self.data[offset]

    def u16(self, offset: int) -> int:
        """Two bytes."""
        return int.from_bytes(self.data[offset : offset + 2], "little")

    def u32(self, offset: int) -> int:
        """Four bytes."""
        return int.from_bytes(self.data[offset : offset + 4], "little")

    def bars(self) -> Iterator[dict[str, Any]]:
        """Base address registers that exist. Sizes are those of the hardware description."""
        number = 0
        while number < 6:
            raw = self.u32(0x10 + 4 * number)
            is_io, wide = bool(raw & 1), raw & 7 == 4
            address = raw & (~3 if is_io else ~15)
            if wide and number < 5:
                address |= self.u32(0x14 + 4 * number) << 32
            if raw:
                size = BARS[number].size_bytes if number in BARS else None
                yield {
                    "bar": number,
                    "address": address,
                    "io": is_io,
                    "width_bits": 64 if wide else 32,
                    "prefetchable": bool(not is_io and raw & 8),
                    "size": size,
                }
            number += 2 if wide else 1

    def lines(self) -> list[str]:
        """As `lspci -vvv`, with tabs."""
        lines = [
            f"Class {self.u16(0x0A):04x}: Device {self.u16(0):04x}:{self.u16(2):04x}"
            f" (rev {self.u8(8):02x})",
            f"\tSubsystem: Device {self.u16(0x2C):04x}:{self.u16(0x2E):04x}",
            f"\tControl: {flags(self.u16(4), COMMAND)}",
            f"\tStatus: {flags(self.u16(6), _STATUS_LOW)} DEVSEL={_DEVSEL[self.u16(6) >> 9 & 3]} "
            f"{flags(self.u16(6), _STATUS_HIGH)}",
        ]
        if self.u16(4) & 4:
            cache_line = self.u8(0x0C)
            shown = f", Cache Line Size: {4 * cache_line} bytes" if cache_line else ""
            lines.append(f"\tLatency: {self.u8(0x0D)}{shown}")
        if self.u8(0x3D):
            pin = "ABCD"[(self.u8(0x3D) - 1) & 3]
            lines.append(f"\tInterrupt: pin {pin} routed to IRQ {self.u8(0x3C)}")
        for bar in self.bars():
            address = "<unassigned>" if bar["address"] == 0 else f"{bar['address']:08x}"
            if bar["io"]:
                lines.append(f"\tRegion {bar['bar']}: I/O ports at {address}")
                continue
            disabled = "" if self.u16(4) & 2 else " [disabled]"
            size = "" if bar["size"] is None else f" [size={bar['size'] >> 10}K]"
            kind = f"{bar['width_bits']}-bit, {'' if bar['prefetchable'] else 'non-'}prefetchable"
            lines.append(f"\tRegion {bar['bar']}: Memory at {address} ({kind}){disabled}{size}")
        for capability in self.capabilities:
            first, *rest = capability.lines
            lines.append(f"\tCapabilities: [{capability.offset:02x}] {first}")
            lines += [f"\t\t{line}" for line in rest]
        return lines

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "vendor_id": self.u16(0),
            "device_id": self.u16(2),
            "subsystem_vendor_id": self.u16(0x2C),
            "subsystem_id": self.u16(0x2E),
            "revision": self.u8(8),
            "class": self.u16(0x0A),
            "command": flag_values(self.u16(4), COMMAND),
            "status": flag_values(self.u16(6), (*_STATUS_LOW, *_STATUS_HIGH)),
            "interrupt_pin": self.u8(0x3D),
            "interrupt_line": self.u8(0x3C),
            "bars": list(self.bars()),
            "capabilities": [
                {"offset": item.offset, "id": item.id, "name": item.name, **item.values}
                for item in self.capabilities
            ],
            "lines": self.lines(),
        }


def decode(data: bytes) -> Function:
    """Configuration space from its bytes: 256 or more."""
    bare = Function(data, ())
    return Function(data, tuple(_capabilities(bare)))


def dump(data: bytes) -> list[str]:
    """As `lspci -xxxx`: sixteen bytes in a line; the extended part only when there is something."""
    end = len(data) if any(data[256:]) else min(len(data), 256)
    digits = 2 if end <= 256 else 3
    return [
        f"{offset:0{digits}x}: {data[offset : offset + 16].hex(' ')}"
        for offset in range(0, end, 16)
    ]


def _capabilities(function: Function) -> Iterator[Capability]:
    if not function.u16(6) & 0x10:
        return
    offset, seen = function.u8(0x34) & ~3, set[int]()
    while _HEADER_BYTES <= offset < 0x100 and offset not in seen:
        seen.add(offset)
        number = function.u8(offset)
        reader = {1: _power_management, 16: _express, 17: _msix}.get(number)
        name = _CAPABILITIES.get(number, f"#{number:02x}")
        if reader is None:
            yield Capability(offset, number, name, (name,))
        else:
            lines, values = reader(function, offset)
            yield Capability(offset, number, name, tuple(lines), values)
        offset = function.u8(offset + 1) & ~3


def _power_management(function: Function, at: int) -> tuple[list[str], dict[str, Any]]:
    capabilities, control = function.u16(at + 2), function.u16(at + 4)
    current = (0, 55, 100, 160, 220, 270, 320, 375)[capabilities >> 6 & 7]
    states = (("D0", 11), ("D1", 12), ("D2", 13), ("D3hot", 14), ("D3cold", 15))
    pme = flags(capabilities, states).replace(" ", ",")
    lines = [
        f"Power Management version {capabilities & 7}",
        f"Flags: {flags(capabilities, (('PMEClk', 3), ('DSI', 5), ('D1', 9), ('D2', 10)))} "
        f"AuxCurrent={current}mA PME({pme})",
        f"Status: D{control & 3} {flags(control, (('NoSoftRst', 3), ('PME-Enable', 8)))} "
        f"DSel={control >> 9 & 15} DScale={control >> 13 & 3} {flags(control, (('PME', 15),))}",
    ]
    values = {"version": capabilities & 7, "power_state": control & 3}
    return lines, {**values, **flag_values(control, (("NoSoftRst", 3), ("PME-Enable", 8)))}


def _msix(function: Function, at: int) -> tuple[list[str], dict[str, Any]]:
    control, table, pba = function.u16(at + 2), function.u32(at + 4), function.u32(at + 8)
    count = (control & 0x7FF) + 1
    lines = [
        f"MSI-X: {flags(control, (('Enable', 15),))} Count={count} {flags(control, (('Masked', 14),))}",
        f"Vector table: BAR={table & 7} offset={table & ~7:08x}",
        f"PBA: BAR={pba & 7} offset={pba & ~7:08x}",
    ]
    values = {"count": count, **flag_values(control, (("Enable", 15), ("Masked", 14)))}
    return lines, {
        **values,
        "table": {"bar": table & 7, "offset": table & ~7},
        "pba": {"bar": pba & 7, "offset": pba & ~7},
    }


_ERRORS: Final[Bits] = (("CorrErr", 0), ("NonFatalErr", 1), ("FatalErr", 2), ("UnsupReq", 3))


def _express(function: Function, at: int) -> tuple[list[str], dict[str, Any]]:
    kind, version = function.u16(at + 2) >> 4 & 15, function.u16(at + 2) & 15
    name = _EXPRESS_TYPES.get(kind, f"type {kind}")
    capabilities, control, status = (
        function.u32(at + 4),
        function.u16(at + 8),
        function.u16(at + 10),
    )
    lines = [
        f"Express (v{version}) {name}, IntMsgNum {function.u16(at + 2) >> 9 & 31}",
        f"DevCap:\tMaxPayload {128 << (capabilities & 7)} bytes, PhantFunc "
        f"{(1 << (capabilities >> 3 & 3)) - 1}, Latency L0s {_L0S[capabilities >> 6 & 7]}, "
        f"L1 {_L1[capabilities >> 9 & 7]}",
        "\t"
        + flags(capabilities, _DEVCAP)
        + f" SlotPowerLimit {capabilities >> 18 & 255}W {flags(capabilities, (('TEE-IO', 30),))}",
        f"DevCtl:\t{flags(control, _ERRORS)}",
        # A function without the capability has no such bit.
        "\t" + flags(control, (*_DEVCTL, *([("FLReset", 15)] if capabilities >> 28 & 1 else []))),
        f"\tMaxPayload {128 << (control >> 5 & 7)} bytes, MaxReadReq {128 << (control >> 12 & 7)} bytes",
        f"DevSta:\t{flags(status, (*_ERRORS, ('AuxPwr', 4), ('TransPend', 5)))}",
        *_link(function, at),
    ]
    if version > 1:
        lines += _second(function, at)
    values = {
        "version": version,
        "type": name,
        "max_payload_bytes": 128 << (control >> 5 & 7),
        "function_level_reset": bool(capabilities >> 28 & 1),
        "link_width": function.u16(at + 18) >> 4 & 0x3F,
        "link_speed_gt_s": _LINK_SPEEDS.get(function.u16(at + 18) & 15, "unknown"),
    }
    return lines, values


def _link(function: Function, at: int) -> list[str]:
    capabilities, control, status = (
        function.u32(at + 12),
        function.u16(at + 16),
        function.u16(at + 18),
    )
    return [
        f"LnkCap:\tPort #{capabilities >> 24}, Speed {_speed(capabilities)}, Width "
        f"x{capabilities >> 4 & 0x3F}, ASPM {_ASPM[capabilities >> 10 & 3]}",
        "\t" + flags(capabilities, _LNKCAP),
        f"LnkCtl:\tASPM {_ASPM_ENABLED[control & 3]}; RCB {128 if control & 8 else 64} bytes, "
        + flags(control, (("LnkDisable", 4), ("CommClk", 6))),
        "\t" + flags(control, _LNKCTL),
        f"LnkSta:\tSpeed {_speed(status)}, Width x{status >> 4 & 0x3F}",
        "\t" + flags(status, _LNKSTA),
    ]


def _speed(register: int) -> str:
    speed = _LINK_SPEEDS.get(register & 15)
    return "unknown" if speed is None else f"{speed}GT/s"


def _second(function: Function, at: int) -> list[str]:
    """What version 2 of the capability has: an endpoint's registers behind the slot's and root's."""
    capabilities, control = function.u32(at + 0x24), function.u16(at + 0x28)
    link, link_control = function.u32(at + 0x2C), function.u16(at + 0x30)
    link_status = function.u16(at + 0x32)
    ranges = "Not Supported" if not capabilities & 15 else f"Range {_ranges(capabilities & 15)}"
    obff = ("Not Supported", "Via message", "Via WAKE#", "Via message/WAKE#")[
        capabilities >> 18 & 3
    ]
    power = ("Not Supported", "Form Factor Dev Specific", "Form Factor Dev Specific", "Reserved")
    highest = max((bit for bit in _LINK_SPEEDS if link >> bit & 1), default=1)
    speeds = "2.5" if highest == 1 else f"2.5-{_LINK_SPEEDS[highest]}"
    return [
        f"DevCap2: Completion Timeout: {ranges}, "
        + flags(capabilities, (("TimeoutDis", 4), ("NROPrPrP", 10), ("LTR", 11))),
        "\t "
        + flags(capabilities, (("10BitTagComp", 16), ("10BitTagReq", 17)))
        + f" OBFF {obff}, "
        + flags(capabilities, (("ExtFmt", 20), ("EETLPPrefix", 21))),
        f"\t EmergencyPowerReduction {power[capabilities >> 24 & 3]}, "
        + flags(capabilities, (("EmergencyPowerReductionInit", 26),)),
        "\t " + flags(capabilities, (("FRS", 31), ("TPHComp", 12), ("ExtTPHComp", 13))),
        "\t AtomicOpsCap: " + flags(capabilities, (("32bit", 7), ("64bit", 8), ("128bitCAS", 9))),
        f"DevCtl2: Completion Timeout: {_TIMEOUT_RANGES.get(control & 15, 'Unknown')}, "
        + flags(control, (("TimeoutDis", 4),)),
        "\t AtomicOpsCtl: " + flags(control, (("ReqEn", 6),)),
        "\t " + flags(control, _DEVCTL2),
        f"\t {flags(control, (('10BitTagReq', 12),))} OBFF "
        f"{('Disabled', 'Via message A', 'Via message B', 'Via WAKE#')[control >> 13 & 3]}, "
        + flags(control, (("EETLPPrefixBlk", 15),)),
        f"LnkCap2: Supported Link Speeds: {speeds}GT/s, "
        + flags(link, (("Crosslink", 8), ("Retimer", 23), ("2Retimers", 24), ("DRS", 31))),
        f"LnkCtl2: Target Link Speed: {_speed(link_control)}, "
        + flags(link_control, (("EnterCompliance", 4), ("SpeedDis", 5))),
        f"\t Transmit Margin: {_MARGINS.get(link_control >> 7 & 7, 'Unknown')}, "
        + flags(link_control, (("EnterModifiedCompliance", 10), ("ComplianceSOS", 11))),
        f"\t Compliance Preset/De-emphasis: {_PRESETS.get(link_control >> 12, 'Unknown')}",
        f"LnkSta2: Current De-emphasis Level: {'-3.5dB' if link_status & 1 else '-6dB'}, "
        + flags(link_status, (("EqualizationComplete", 1), ("EqualizationPhase1", 2))),
        "\t " + flags(link_status, _EQUALIZATION),
        f"\t {flags(link_status, (('Retimer', 6), ('2Retimers', 7)))} CrosslinkRes: "
        + ("unsupported", "Upstream Port", "Downstream Port", "incomplete")[link_status >> 8 & 3],
    ]


def _ranges(bits: int) -> str:
    return "".join(letter for bit, letter in enumerate("ABCD") if bits >> bit & 1)

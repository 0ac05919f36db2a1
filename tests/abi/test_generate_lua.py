"""The Wireshark dissector: what tshark shows of any trace record is what Python decodes."""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tlsnic.abi import enums, registers, structures
from tlsnic.abi.enums import DmaPurpose, QueueKind, TlsEvent, TraceFlags
from tlsnic.abi.generate.build import ABI, RDL, ROOT
from tlsnic.abi.generate.lua import dissector, quoted
from tlsnic.abi.generate.nodes import InterfaceError
from tlsnic.abi.generate.read import read
from tlsnic.abi.layout import Register, RegisterMap, Structure
from tlsnic.device.wire import LINKTYPE_USER0, Interface, PcapngWriter

SCRIPT = ROOT / ABI / "lua/tlsnic.lua"
ELEMENT = ElementTree.Element

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

RINGS = {
    (DmaPurpose.DESCRIPTOR, QueueKind.TRANSMIT): [structures.TxDescriptor],
    (DmaPurpose.DESCRIPTOR, QueueKind.RECEIVE): [structures.RxDescriptor],
    (DmaPurpose.DESCRIPTOR, QueueKind.ADMIN): list(structures.COMMANDS.values()),
    (DmaPurpose.COMPLETION, QueueKind.TRANSMIT): [structures.TxCompletion],
    (DmaPurpose.COMPLETION, QueueKind.RECEIVE): [structures.RxCompletion],
    (DmaPurpose.COMPLETION, QueueKind.ADMIN): [structures.Response],
    (DmaPurpose.COMPLETION, QueueKind.EVENT): list(structures.EVENTS.values()),
}
GROUPS = {
    "trace_register_read": "register",
    "trace_register_write": "register",
    "trace_dma_read": "dma",
    "trace_dma_write": "dma",
    "trace_interrupt": "interrupt",
    "trace_tls_packet": "tls",
    "trace_tls_event": "tls",
    "trace_input": "input",
    "trace_frame": "frame",
}
COMMON = {member.name for member in structures.Trace.members()}


def abbreviation(structure: type[Structure], member: str) -> str:
    """The display filter name of a member."""
    if structure.KIND != "trace":
        return f"tlsnic.{structure.NAME}.{member}"
    if member in COMMON:
        return f"tlsnic.{member}"
    queue = {"queue": "tlsnic.queue.number", "kind": "tlsnic.queue.kind"}
    return queue.get(member, f"tlsnic.{GROUPS[structure.NAME]}.{member}")


def any_structure(rng: random.Random, structure: type[Structure], **fixed: int) -> Structure:
    """One with random members; named values and flags more often than others."""
    values: list[int | bytes] = []
    for member in structure.members():
        number = rng.getrandbits(member.size_bytes * 8)
        if member.name in fixed:
            values.append(fixed[member.name])
        elif member.is_bytes:
            values.append(rng.randbytes(member.size_bytes))
        elif member.name in ("type", "opcode") and structure.OPCODE is not None:
            values.append(structure.OPCODE)
        elif member.enum and rng.random() < 0.8:
            values.append(int(rng.choice(list(getattr(enums, member.enum)))))
        else:
            values.append(number)
    return structure(*values)


class Dissected:
    """Packets written to a capture, and what tshark shows of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bus.pcapng"
        self._writer = PcapngWriter(self.path, [Interface("bus", LINKTYPE_USER0)])

    def put(self, record: Structure | bytes, data: bytes = b"", cut: int | None = None) -> None:
        packet = (record if isinstance(record, bytes) else record.pack()) + data
        original = len(packet) if cut is None else cut
        self._writer.write((packet,), self._writer.packets + 1, original_bytes=original)

    def tshark(self, *arguments: str) -> str:
        self._writer.flush()
        command = ["tshark", "-n", "-r", str(self.path), "-X", f"lua_script:{SCRIPT}", *arguments]
        # Long texts are cut by tshark, also in the middle of a character.
        done = subprocess.run(
            command, capture_output=True, errors="replace", check=True, timeout=120
        )
        assert not [line for line in done.stderr.splitlines() if "Running as user" not in line]
        assert "Lua Error" not in done.stdout
        return done.stdout

    def packets(self) -> list[ELEMENT]:
        """The dissector's element of each packet."""
        tree = ElementTree.fromstring(self.tshark("-T", "pdml"))
        found = [packet.find("proto[@name='tlsnic']") for packet in tree.iter("packet")]
        assert all(element is not None for element in found)
        return [element for element in found if element is not None]


@pytest.fixture
def shown(tmp_path: Path) -> Dissected:
    return Dissected(tmp_path)


def fields(element: ELEMENT, name: str) -> list[ELEMENT]:
    """Fields called `name` right below `element`."""
    return [child for child in element if child.get("name") == name]


def check_value(field: ELEMENT, name: str, value: int, enum: str | None) -> None:
    """A field has the name and number, and the name of the value."""
    label, text = field.get("showname", ""), field.get("show", "")
    assert label.startswith((f"{name}: ", f"{name.upper()}: "))
    assert int(text, 0) == value, label
    if enum is None:
        return
    known = getattr(enums, enum)
    if not issubclass(known, IntFlag):
        names = [member.name for member in known if member == value]
        assert (names[0] if names else "Unknown") in label
        return
    bits = {child.get("name", "").rpartition(".")[2]: child.get("show") for child in field}
    assert bits == {m.name.lower(): str(int(bool(value & m))) for m in known}
    names = "|".join(member.name for member in known if value & member)
    assert f"({names})".startswith(label.partition(" ")[2].partition(" ")[2])  # cut when long


def check_structure(element: ELEMENT, structure: Structure) -> None:
    """All members are below `element`, and secret ones are not."""
    for member, value in zip(structure.members(), structure, strict=True):
        found = fields(element, abbreviation(type(structure), member.name))
        if member.name in structure.SECRET:
            assert not found
            continue
        assert len(found) == 1, (structure, member)
        if member.is_bytes:
            assert bytes.fromhex(found[0].get("show", "").replace(":", "")) == value
        else:
            check_value(found[0], member.name, value, member.enum)


@needs_tshark
def test_every_member_of_every_trace_record_is_shown(shown: Dissected) -> None:
    rng = random.Random(1)
    records = [any_structure(rng, kind) for kind in structures.TRACES.values() for _ in range(25)]
    for record in records:
        shown.put(record)
    for element, record in zip(shown.packets(), records, strict=True):
        check_structure(element, record)


@needs_tshark
def test_memory_is_decoded_as_the_structures_that_it_is(shown: Dissected) -> None:
    rng = random.Random(2)
    expected: list[list[Structure]] = []
    for (purpose, kind), choices in RINGS.items():
        for structure in choices * 3:
            entries = [any_structure(rng, structure) for _ in range(rng.randint(1, 3))]
            data = b"".join(entry.pack() for entry in entries)
            record = rng.choice([structures.TraceDmaRead, structures.TraceDmaWrite])
            shown.put(record(length=len(data), queue=3, kind=kind, purpose=purpose), data)
            expected.append(entries)
    for record, structure in (
        (structures.TraceDmaRead, structures.TlsPresync),
        (structures.TraceDmaRead, structures.TlsFlow),
        (structures.TraceDmaWrite, structures.TlsFlowState),
    ):
        entry = any_structure(rng, structure)
        shown.put(record(length=structure.SIZE, purpose=DmaPurpose.BLOCK), entry.pack())
        expected.append([entry])
    for element, entries in zip(shown.packets(), expected, strict=True):
        subtrees = [child for child in element if child.tag == "proto"]
        assert len(subtrees) == len(entries)
        for subtree, entry in zip(subtrees, entries, strict=True):
            (name,) = fields(subtree, "tlsnic.dma.structure")
            assert name.get("show") == entry.NAME
            check_structure(subtree, entry)


@needs_tshark
def test_a_flow_block_shows_no_key_and_a_sealed_one_nothing(shown: Dissected) -> None:
    block = any_structure(random.Random(3), structures.TlsFlow)
    read_block = structures.TraceDmaRead(length=block.SIZE, purpose=DmaPurpose.BLOCK)
    shown.put(read_block, block.pack())
    shown.put(read_block._replace(flags=int(TraceFlags.SECRET)), block.pack())
    shown.put(read_block._replace(flags=int(TraceFlags.SECRET)))
    packets = shown.packets()
    text = ElementTree.tostring(packets[0], encoding="unicode")
    for name in block.SECRET:
        assert getattr(block, name).hex() not in text
    assert all(not element.findall(".//proto") for element in packets[1:])
    assert all("key material" in element.get("showname", "") for element in packets[1:])


@needs_tshark
def test_the_counters_of_statistics_have_their_names(shown: Dissected) -> None:
    counters = [r for r in registers.BAR0.registers if r.section == "Counters"]
    first = counters[0].offset
    data = bytearray(counters[-1].offset + 8 - first)
    for number, register in enumerate(counters):
        data[register.offset - first : register.offset - first + 8] = (2**40 + number).to_bytes(
            8, "little"
        )
    shown.put(structures.TraceDmaWrite(length=len(data), purpose=DmaPurpose.BLOCK), bytes(data))
    (element,) = shown.packets()
    for number, register in enumerate(counters):
        (field,) = element.findall(f".//field[@name='tlsnic.statistics.{register.name.lower()}']")
        assert field.get("show") == str(2**40 + number)


def accesses(rng: random.Random) -> Iterator[tuple[int, Register, int, int, int]]:
    """BAR, register, index, width and value for each register, arrays at both ends."""
    for number, register_map in ((0, registers.BAR0), (2, registers.BAR2)):
        for register in register_map.registers:
            for index in {0, register.array_count - 1}:
                width = register.size_bytes
                yield number, register, index, width, rng.getrandbits(8 * width)
                yield number, register, index, width, register.reset


@needs_tshark
def test_every_register_is_shown_by_name_with_every_field(shown: Dissected) -> None:
    done = list(accesses(random.Random(4)))
    for number, (bar, register, index, width, value) in enumerate(done):
        kind = structures.TraceRegisterWrite if number % 2 else structures.TraceRegisterRead
        shown.put(kind(bar=bar, width=width, offset=register.address(index), value=value))
    for element, (_, register, index, _, value) in zip(shown.packets(), done, strict=True):
        (item,) = fields(element, "tlsnic.register.name")
        assert item.get("show") == register.name
        indices = [field.get("show") for field in fields(item, "tlsnic.register.index")]
        assert indices == ([str(index)] if register.array_count > 1 else [])
        for field in register.fields:
            (found,) = fields(item, f"tlsnic.reg.{register.name}.{field.name}".lower())
            check_value(found, field.name, field.extract(value), field.enum)


def parts(bars: RegisterMap, offset: int, width: int, value: int) -> dict[str, int]:
    """Fields that an access of any width covers wholly, with values, as Python decodes it."""
    expected, at = {}, offset
    while at < offset + width and (found := bars.find(at)) is not None:
        register, index = found
        begin = register.address(index)
        end = min(begin + register.size_bytes, offset + width)
        for field in register.fields:
            low, high = begin * 8 + field.lsb, begin * 8 + field.lsb + field.width_bits
            if at * 8 <= low and high <= end * 8:
                name = f"tlsnic.reg.{register.name}.{field.name}".lower()
                expected[name] = value >> low - offset * 8 & (1 << field.width_bits) - 1
        at = begin + register.size_bytes
    return expected


@needs_tshark
def test_parts_of_registers_and_several_at_once(shown: Dissected) -> None:
    rng, done = random.Random(5), []
    for _ in range(300):
        number, bars = rng.choice([(0, registers.BAR0), (2, registers.BAR2)])
        register = rng.choice(bars.registers)
        width = rng.choice([1, 2, 4, 8])
        offset = register.address(rng.randrange(register.array_count))
        offset = (offset + rng.randrange(register.size_bytes)) // width * width
        value = rng.getrandbits(8 * width)
        shown.put(
            structures.TraceRegisterWrite(bar=number, width=width, offset=offset, value=value)
        )
        done.append(parts(bars, offset, width, value))
    for element, expected in zip(shown.packets(), done, strict=True):
        found = {
            field.get("name"): int(field.get("show", ""), 0)
            for item in fields(element, "tlsnic.register.name")
            for field in item
            if field.get("name", "").startswith("tlsnic.reg.")
        }
        assert found == expected


@needs_tshark
def test_display_filters_take_names_of_values(shown: Dissected) -> None:
    shown.put(structures.TraceRegisterWrite(bar=2, width=4, offset=0x10, value=9))
    shown.put(
        structures.TraceDmaWrite(
            length=16, queue=5, kind=QueueKind.TRANSMIT, purpose=DmaPurpose.COMPLETION
        ),
        structures.TxCompletion(status=4, detail=12, head=7).pack(),
    )
    shown.put(structures.TraceTlsPacket(handle=0x40001, direction=1, outcome=2, tracker_state=1))
    shown.put(
        structures.TraceTlsEvent(
            handle=0x40001,
            event=TlsEvent.CREATED,
            ip_version=6,
            local_port=443,
            remote_port=50_000,
            local_address=bytes.fromhex("fd00000000000000000000000000cafe"),
        )
    )
    for number, text in enumerate(
        (
            'tlsnic.register.name == "TX_DOORBELL_TAIL" && tlsnic.reg.tx_doorbell_tail.index == 9',
            'tlsnic.queue.kind == "TRANSMIT" && tlsnic.tx_completion.status == "TLS_DROPPED"',
            'tlsnic.tls.handle == 0x40001 && tlsnic.tls.outcome == "DECRYPTED"',
            'tlsnic.tls.local == "[fd00::cafe]:443"',
        ),
        1,
    ):
        assert shown.tshark("-Y", text, "-T", "fields", "-e", "frame.number").split() == [
            str(number)
        ]


@needs_tshark
def test_the_info_column_says_it_in_one_line(shown: Dissected) -> None:
    shown.put(structures.TraceRegisterWrite(bar=2, width=8, offset=8, value=5 << 32 | 17))
    shown.put(structures.TraceRegisterRead(bar=0, width=4, offset=0xFFF0, value=1))
    shown.put(
        structures.TraceDmaRead(
            length=32, queue=5, kind=QueueKind.TRANSMIT, purpose=DmaPurpose.DESCRIPTOR
        ),
        structures.TxDescriptor(address=0x1000, length=60, flags=3).pack(),
    )
    shown.put(structures.TraceDmaRead(length=64, address=0x2000), bytes(64))
    shown.put(structures.TraceInterrupt(vector=3, msix=1, asserted=1))
    shown.put(structures.TraceInterrupt(asserted=1))
    shown.put(
        structures.TraceTlsPacket(
            handle=0x40001, tcp_sequence=99, length=1448, direction=1, outcome=2, tracker_state=1,
            records=2, record_number=17,
        )
    )  # fmt: skip
    shown.put(structures.TraceInput(input=12), b"here")
    event = structures.TraceTlsEvent(
        handle=0x40001, direction=1, ip_version=4, local_port=443, remote_port=5, suite=1,
        local_address=bytes([10, 0, 0, 1]).ljust(16, b"\0"), old_state=1, new_state=2,
    )  # fmt: skip
    shown.put(event._replace(event=TlsEvent.CREATED))
    shown.put(event._replace(event=TlsEvent.TRACKER))
    shown.put(event._replace(event=TlsEvent.ASKED, question=3, tcp_sequence=77))
    fault = structures.TraceDmaWrite(length=64, address=0x2000, flags=int(TraceFlags.FAULT))
    shown.put(fault)
    shown.put(fault._replace(flags=int(TraceFlags.FAULT | TraceFlags.READ_ONLY)))
    lines = shown.tshark("-T", "fields", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info")
    assert [line.split("\t") for line in lines.splitlines()] == [
        ["tlsnic", text]
        for text in (
            "write TX_DOORBELL_TAIL[1] 17, TX_DOORBELL_COMPLETION[1] INDEX=5 ARM=0",
            "read BAR0+0xfff0 0x1",
            "DMA read descriptor, TRANSMIT queue 5 tx_descriptor address=0x1000 length=60"
            " flags=END_OF_PACKET|REPORT",
            "DMA read 64 bytes at 0x2000",
            "MSI-X vector 3",
            "INTx asserted",
            "flow 0x40001 receive DECRYPTED, sequence 99, 1448 bytes, 2 records ended; OFFLOAD,"
            " record 17",
            "MARK here",
            "flow 0x40001 receive CREATED 10.0.0.1:443 to 0.0.0.0:5, TLS12_AES_128_GCM, sequence 0,"
            " record 0",
            "flow 0x40001 receive TRACKER OFFLOAD to SEARCH, sequence 0, record 0",
            "flow 0x40001 receive ASKED question 3, sequence 77, record 0",
            "DMA write 64 bytes at 0x2000: not mapped",
            "DMA write 64 bytes at 0x2000: read-only",
        )
    ]


@needs_tshark
def test_cut_and_senseless_records_are_no_error_of_the_script(shown: Dissected) -> None:
    rng = random.Random(6)
    count = 0
    for kind in structures.TRACES.values():
        whole = any_structure(rng, kind).pack()
        for size in range(1, len(whole)):
            shown.put(whole[:size])
            shown.put(whole[:size], cut=len(whole))
            count += 2
    for (purpose, queue), _ in RINGS.items():
        record = structures.TraceDmaRead(length=32, kind=queue, purpose=purpose)
        for size in range(33):
            shown.put(record, rng.randbytes(size), cut=64)
            count += 1
    for _ in range(200):
        noise = bytearray(rng.randbytes(rng.randint(1, 100)))
        noise[0:2] = rng.randrange(12).to_bytes(2, "little")
        shown.put(bytes(noise))
        count += 1
    packets = shown.packets()
    assert len(packets) == count
    assert all("_ws.lua.error" not in {field.get("name") for field in p.iter()} for p in packets)
    text = shown.tshark(
        "-Y", "tlsnic.cut_short || tlsnic.unknown", "-T", "fields", "-e", "tlsnic.type"
    )
    assert text


def test_the_script_is_made_of_the_interface_alone() -> None:
    text = dissector(read(RDL))
    assert text == SCRIPT.read_text(encoding="utf-8")
    for name in structures.TlsFlow.SECRET:
        assert f'{{"{name}", ' not in text


def test_a_register_map_must_name_its_bar(tmp_path: Path) -> None:
    interface = read(ROOT / "tests/abi/fixtures/small.rdl")
    code = tmp_path / "code.lua"
    code.write_text("-- code\n", encoding="utf-8")
    assert dissector(interface, code).endswith("\n-- code\n")
    nameless = tuple(dataclasses.replace(bar, name="registers") for bar in interface.maps)
    with pytest.raises(InterfaceError, match="which BAR"):
        dissector(dataclasses.replace(interface, maps=nameless), code)


def test_strings_are_quoted_for_every_lua() -> None:
    assert quoted('a "b" \\ c\nd') == '"a \\"b\\" \\\\ c\\nd"'

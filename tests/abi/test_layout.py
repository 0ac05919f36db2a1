"""Register tables and structures as device, driver and tools use them."""

import importlib.util
import random
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.abi import registers, structures
from tlsnic.abi.generate.__main__ import main
from tlsnic.abi.layout import Access, RegisterMap, Structure

FIXTURES = Path(__file__).parent / "fixtures"
MAPS = [value for value in vars(registers).values() if isinstance(value, RegisterMap)]
ALL = sorted(structures.STRUCTURES.values(), key=lambda kind: kind.NAME)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The fixture's modules: attributes `registers`, `structures`, `enums`."""
    root = tmp_path_factory.mktemp("small")
    main(["--rdl", str(FIXTURES / "small.rdl"), "--manual", str(root), "--root", str(root)])
    package = ModuleType("small")
    for name in ("registers", "structures", "enums"):
        path = root / f"device/tlsnic/abi/{name}.py"
        spec = importlib.util.spec_from_file_location(f"small_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(package, name, module)
    return package


@pytest.mark.parametrize("register_map", MAPS, ids=lambda register_map: register_map.name)
def test_find_agrees_with_a_byte_by_byte_map(register_map: RegisterMap) -> None:
    expected = {
        register.address(index) + byte: (register, index)
        for register in register_map.registers
        for index in range(register.array_count)
        for byte in range(register.size_bytes)
    }
    for offset in range(-8, register_map.size_bytes + 8):
        assert register_map.find(offset) == expected.get(offset)


@pytest.mark.parametrize("register_map", MAPS, ids=lambda register_map: register_map.name)
def test_registers_are_aligned_and_do_not_overlap(register_map: RegisterMap) -> None:
    taken: set[int] = set()
    for register in register_map.registers:
        for index in range(register.array_count):
            address = register.address(index)
            assert address % register.size_bytes == 0
            place = set(range(address, address + register.size_bytes))
            assert not place & taken
            taken |= place
    assert max(taken) < register_map.size_bytes
    assert register_map.size_bytes & (register_map.size_bytes - 1) == 0


@pytest.mark.parametrize("register_map", MAPS, ids=lambda register_map: register_map.name)
def test_fields_and_reserved_bits_cover_every_register_once(register_map: RegisterMap) -> None:
    for register in register_map.registers:
        masks = [field.mask for field in register.fields] + [register.reserved_mask]
        assert sum(masks) == (1 << register.width_bits) - 1
        for field in register.fields:
            assert field.reset is None or field.extract(register.reset) == field.reset


def test_registers_of_the_fixture(small: ModuleType) -> None:
    bar0 = small.registers.BAR0
    control = bar0.by_name["CONTROL"]
    assert (control.offset, control.width_bits, control.reset) == (0, 32, 0x300)
    assert control.section == "Device"
    assert control.anchor == "reg-control"
    assert control.mask_of(Access.RW) == 0xFF01
    assert control.mask_of(Access.W1P) == 2
    assert control.mask_of(Access.RW, Access.W1P) == 0xFF03
    assert control.reserved_mask == 0xFFFF00FC
    assert control.decode(0x4203) == {"ENABLE": 1, "RESET_DEVICE": 1, "BURST": 0x42}
    assert bar0.by_name["STATUS"].field("LINK").enum == "LinkState"
    assert bar0.by_name["STATUS"].field("SPEED").reset is None
    assert bar0.by_name["FRAMES"].side_effects
    assert bar0.by_name["TABLE"].side_effects
    assert not control.side_effects
    assert bar0.by_name["FRAMES"].section == bar0.by_name["TABLE"].section == "Counters"
    tail = bar0.by_name["TX_TAIL"]
    assert tail.section == "Queues"
    assert [tail.address(index) for index in range(4)] == [0x1008, 0x1048, 0x1088, 0x10C8]
    assert bar0.find(0x1049) == (tail, 1)
    assert bar0.find(0x104C) is None
    assert bar0.size_bytes == 0x2000
    assert small.registers.TX_TAIL + 3 * small.registers.TX_STRIDE == 0x10C8
    assert small.registers.TX_BASE_ADDRESS_MASK == 0xFFFFFFFFFFFFF000
    assert not hasattr(small.registers, "FRAMES_VALUE_MASK")


def test_bad_index_field_name_and_value_are_refused(small: ModuleType) -> None:
    register = small.registers.BAR0.by_name["CONTROL"]
    for index in (-1, 1):
        with pytest.raises(IndexError, match="CONTROL"):
            register.address(index)
    with pytest.raises(KeyError, match="no field NONE"):
        register.field("NONE")
    for value in (-1, 256):
        with pytest.raises(ValueError, match="8 bits of BURST"):
            register.field("BURST").insert(0, value)
    assert register.field("BURST").insert(0xFFFFFFFF, 0x12) == 0xFFFF12FF


def test_structure_bytes_are_little_endian_and_padded(small: ModuleType) -> None:
    descriptor = small.structures.TxDescriptor(
        address=0x1122334455667788, length=0x99AA, kind=1, flags=2, key=b"abcdefgh", count=3
    )
    data = bytes.fromhex("8877665544332211 aa99 01 00 02000000") + b"abcdefgh"
    data += bytes.fromhex("0000 0300 00000000")
    assert descriptor.pack() == data
    buffer = bytearray(b"\xff" * 40)
    descriptor.pack_into(buffer, 4)
    assert buffer == b"\xff" * 4 + data + b"\xff" * 4
    again = small.structures.TxDescriptor.unpack_from(memoryview(buffer), 4)
    assert again == descriptor
    assert isinstance(again, small.structures.TxDescriptor)
    assert (again.address, again.key, again.count) == (0x1122334455667788, b"abcdefgh", 3)


def test_too_short_buffer_and_value_out_of_range_are_refused(small: ModuleType) -> None:
    kind = small.structures.TxDescriptor
    with pytest.raises(struct.error, match="32 bytes"):
        kind.unpack_from(bytes(31))
    with pytest.raises(struct.error):
        kind(length=0x10000).pack()
    with pytest.raises(struct.error):
        kind().pack_into(bytearray(32), 1)


def test_key_material_does_not_show_in_repr_or_format(small: ModuleType) -> None:
    descriptor = small.structures.TxDescriptor(length=7, key=b"hideme!!")
    expected = "TxDescriptor(address=0, length=7, kind=0, flags=0, key=<8 secret bytes>, count=0)"
    assert repr(descriptor) == str(descriptor) == f"{descriptor}" == expected
    assert descriptor.key == b"hideme!!"
    assert repr(small.structures.LinkChanged(state=1)) == "LinkChanged(state=1)"


def test_opcode_and_type_are_preset(small: ModuleType) -> None:
    assert small.structures.SetMac().opcode == small.structures.SetMac.OPCODE == 0x102
    assert list(small.structures.COMMANDS.items()) == [(0x102, small.structures.SetMac)]
    assert list(small.structures.RESPONSES.items()) == [(0x102, small.structures.SetMacResponse)]
    assert list(small.structures.EVENTS.items()) == [(1, small.structures.LinkChanged)]
    for opcode, command in structures.COMMANDS.items():
        assert command().pack()[:2] == opcode.to_bytes(2, "little")
    for number, event in structures.EVENTS.items():
        assert event().pack()[:2] == number.to_bytes(2, "little")


def test_flag_bits_without_a_name_are_reserved(small: ModuleType) -> None:
    kind = small.structures.TxDescriptor
    named = sum(small.enums.InterruptCause)
    for bit in range(32):
        data = kind(flags=1 << bit).pack()
        assert kind.reserved_is_zero(data) == bool(named >> bit & 1)


@given(st.sampled_from(ALL), st.randoms(use_true_random=False))
def test_packing_what_was_unpacked_keeps_all_but_reserved_bytes(
    kind: type[Structure], source: random.Random
) -> None:
    data = source.randbytes(kind.SIZE)
    packed = kind.unpack_from(b"xyz" + data, 3).pack()
    value = int.from_bytes(data, "little")
    kept = int.from_bytes(packed, "little")
    assert kind.unpack_from(packed) == kind.unpack_from(data)
    assert (value ^ kept) & ~kind.RESERVED == 0
    assert kind.reserved_is_zero(b"xyz" + data, 3) == (value & kind.RESERVED == 0)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.NAME)
def test_every_single_bit_is_a_member_or_reserved(kind: type[Structure]) -> None:
    zero = kind.unpack_from(bytes(kind.SIZE))
    for bit in range(8 * kind.SIZE):
        data = (1 << bit).to_bytes(kind.SIZE, "little")
        assert kind.unpack_from(data) != zero or not kind.reserved_is_zero(data)


def test_importing_the_tables_needs_neither_compiler_nor_dataclasses() -> None:
    code = (
        "import sys; import tlsnic.abi.registers, tlsnic.abi.structures, tlsnic.abi.enums;"
        "print([n for n in ('systemrdl', 'dataclasses', 'inspect') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "[]\n"

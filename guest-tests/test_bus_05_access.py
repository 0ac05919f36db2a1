"""BUS-05: any register access of 1, 2, 4, 8 bytes, unaligned, straddling, unknown, read-only."""

import random

import pytest
from harness.environment import SIDE_HOST
from harness.fixtures import await_link
from harness.registers import DIAGNOSTICS, elements
from harness.traffic import PEER_MAC, frame

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import Diagnostic
from tlsnic.abi.layout import Access
from tlsnic.driver.nic import Nic

pytestmark = [pytest.mark.row("BUS-05"), pytest.mark.deadline(60)]
WIDTHS = (1, 2, 4, 8)


@pytest.fixture
def card(bus):
    """The card after a reset, without a driver on it, and a reset behind it."""
    reset(bus)
    yield bus
    reset(bus)


def reset(bus):
    bus.write(0, reg.CONTROL, reg.CONTROL_RESET_MASK, 4)
    bus.read(0, reg.STATUS, 4)


def raised(bus):
    return bus.read(0, reg.DIAG_COUNT, 4)


def last(bus):
    return bus.read(0, reg.DIAG_LAST, 4) & reg.DIAG_LAST_CODE_MASK


def image_of(bus, start, length):
    """The bytes of registers from aligned 32-bit reads, zero where there is none.

    A read of the upper half of a 64-bit register follows that of the lower one, so both halves
    are of one moment.
    """
    words = []
    for offset in range(start, start + length, 4):
        known = reg.BAR0.find(offset)
        words.append(bus.read(0, offset, 4) if known else 0)
    return b"".join(word.to_bytes(4, "little") for word in words)


def is_volatile(offset, width):
    """Whether these bytes change by being looked at: the diagnostics themselves."""
    found = (reg.BAR0.find(at) for at in range(offset, offset + width))
    return any(hit and hit[0].name in DIAGNOSTICS for hit in found)


def expected_of_read(offset, width):
    """Diagnostics that a read provokes."""
    if width < 4 or offset % width:
        return [Diagnostic.REG_ACCESS]
    return [
        Diagnostic.REG_UNKNOWN
        for word in range(offset, offset + width, 4)
        if reg.BAR0.find(word) is None
    ]


def one_of_each():
    """Each kind of register once: offsets of an element, and what follows it."""
    seen = set()
    for register, offset in elements(every=1 << 16):
        if register.name not in seen:
            seen.add(register.name)
            yield register, offset


def places(side, scale):
    chosen = list(one_of_each())
    if side != SIDE_HOST:
        chosen = random.Random(5).sample(chosen, scale(len(chosen), 25))
    return chosen


def test_bus_05_reads(card, environment, scale):
    """All registers, widths and alignments, those that reach into the next register too."""
    host = environment.side == SIDE_HOST
    for register, offset in places(environment.side, scale):
        start = max(0, offset - 8)
        image = image_of(card, start, 32)
        for width in WIDTHS:
            for at in range(offset, offset + register.size_bytes):
                if not host and at % width:
                    continue  # an emulated CPU does not pass these on as one access
                before = raised(card)
                value = card.read(0, at, width)
                expected = expected_of_read(at, width)
                what = f"{width} bytes at {at:#x} ({register.name})"
                assert raised(card) - before == len(expected), what
                if expected:
                    assert last(card) == expected[-1], what
                if not is_volatile(at, width):
                    wanted = image[at - start : at - start + width]
                    assert value == int.from_bytes(wanted, "little"), what


def test_bus_05_reads_where_no_register_is(card, environment, scale):
    gaps = [
        offset
        for offset in range(0, reg.BAR0.size_bytes, 8)
        if reg.BAR0.find(offset) is None and reg.BAR0.find(offset + 4) is None
    ]
    rng = random.Random(6)
    for offset in [*rng.sample(gaps, scale(200, 20)), reg.BAR0.size_bytes - 8]:
        before = raised(card)
        assert card.read(0, offset, 4) == 0
        assert raised(card) == before + 1
        assert last(card) == Diagnostic.REG_UNKNOWN
        assert card.read(0, reg.DIAG_OPERAND, 8) == offset
        card.write(0, offset, 0xFFFF_FFFF, 4)
        assert raised(card) == before + 2
        assert card.read(0, offset, 4) == 0


def test_bus_05_narrow_and_unaligned_writes_are_ignored(card, environment, scale):
    host = environment.side == SIDE_HOST
    for register, offset in places(environment.side, scale):
        if register.name in DIAGNOSTICS:
            continue
        size = register.size_bytes
        for width in WIDTHS:
            for at in range(offset, offset + size):
                is_whole = width >= 4 and at % width == 0
                if is_whole or (not host and at % width):
                    continue
                value = card.read(0, offset, size)
                before = raised(card)
                card.write(0, at, (1 << 8 * width) - 1, width)
                what = f"{width} bytes at {at:#x} ({register.name})"
                assert raised(card) - before == 1, what
                assert last(card) == Diagnostic.REG_ACCESS, what
                assert card.read(0, offset, size) == value, what


def test_bus_05_read_only_registers(card, environment, scale):
    for register, offset in places(environment.side, scale):
        if register.mask_of(Access.RW, Access.W1C, Access.WO, Access.W1P):
            continue
        if register.name in DIAGNOSTICS:
            continue
        value = card.read(0, offset, register.size_bytes)
        before = raised(card)
        card.write(0, offset, ~value & (1 << register.width_bits) - 1, register.size_bytes)
        assert raised(card) - before == 1, register.name
        assert last(card) == Diagnostic.REG_READ_ONLY
        assert card.read(0, offset, register.size_bytes) == value, register.name


def test_bus_05_reserved_bits_are_told_and_not_kept(card):
    tried = 0
    for register, offset in one_of_each():
        writable = register.mask_of(Access.RW)
        name = register.name
        if not register.reserved_mask or not writable or name.endswith("CONTROL"):
            continue
        value = card.read(0, offset, register.size_bytes)
        before = raised(card)
        card.write(0, offset, value | register.reserved_mask, register.size_bytes)
        assert raised(card) - before == 1, name
        assert last(card) == Diagnostic.REG_RESERVED_BITS, name
        assert card.read(0, offset, register.size_bytes) == value, name
        tried += 1
    assert tried >= 3


def test_bus_05_read_write_registers_keep_every_bit(card, scale):
    """By whole accesses, and by halves for those of 64 bits."""
    free = ("MAC_FILTER", "VLAN_FILTER", "RSS_KEY", "RSS_TABLE", "MODERATION", "INT_ENABLE")
    for register, offset in elements(every=scale(1, 64)):
        if register.name not in free:
            continue
        mask = register.mask_of(Access.RW)
        for pattern in (0x5A5A_A5A5_1234_8765, 0xA5A5_5A5A_EDCB_789A, 0):
            value = pattern & mask
            card.write(0, offset, value, register.size_bytes)
            assert card.read(0, offset, register.size_bytes) == value, register.name
        if register.size_bytes == 8:
            card.write(0, offset, 0x1111_2222 & mask, 4)
            card.write(0, offset + 4, 0x3333_4444 & mask >> 32, 4)
            assert card.read(0, offset, 8) == 0x3333_4444_1111_2222 & mask, register.name
            assert card.read(0, offset + 4, 4) == 0x3333_4444 & mask >> 32
    assert raised(card) == 0


def test_bus_05_values_out_of_range_are_ignored(card):
    for offset, bad, width in (
        (reg.MAX_FRAME, 63, 4),
        (reg.MAX_FRAME, 0xFFFF, 4),
        (reg.OFFLOAD_ENABLE, 1 << 31, 4),
    ):
        value = card.read(0, offset, width)
        before = raised(card)
        card.write(0, offset, bad, width)
        assert raised(card) == before + 1
        assert last(card) == Diagnostic.VALUE_RANGE
        assert card.read(0, offset, width) == value


def test_bus_05_write_one_to_clear_and_write_only(card):
    card.write(0, reg.INT_TRIGGER, 0x8000_0000_0000_0005, 8)
    assert card.read(0, reg.INT_TRIGGER, 8) == 0
    assert card.read(0, reg.INT_CAUSE, 8) == 0x8000_0000_0000_0005
    card.write(0, reg.INT_CAUSE, 0x4, 8)
    assert card.read(0, reg.INT_CAUSE, 8) == 0x8000_0000_0000_0001
    card.write(0, reg.INT_CAUSE, 0, 8)
    assert card.read(0, reg.INT_CAUSE, 8) == 0x8000_0000_0000_0001
    card.write(0, reg.INT_CAUSE + 4, 0x8000_0000, 4)
    assert card.read(0, reg.INT_CAUSE, 8) == 1
    card.write(0, reg.INT_CAUSE, 0xFFFF_FFFF_FFFF_FFFF, 8)
    assert card.read(0, reg.INT_CAUSE, 8) == 0
    assert card.read(0, reg.CONTROL, 4) == 0, "the reset bit reads as zero"


def test_bus_05_doorbells(card, environment, scale):
    host = environment.side == SIDE_HOST
    places = [reg.TX_DOORBELL_TAIL, reg.RX_DOORBELL_COMPLETION, reg.ADMIN_DOORBELL_TAIL]
    for offset in places:
        assert card.read(2, offset, 4) == 0
        assert card.read(2, offset // 8 * 8, 8) == 0
        for width in WIDTHS:
            for at in range(offset, offset + 4):
                if at + width > offset + 4 or (width == 4 and at == offset):
                    continue
                if not host and at % width:
                    continue
                before = raised(card)
                card.write(2, at, 1, width)
                assert raised(card) == before + 1, f"{width} bytes at {at:#x}"
                assert last(card) == Diagnostic.REG_ACCESS
    before = raised(card)
    card.write(2, 0xFF0, 1, 4)
    assert card.read(2, 0xFF0, 4) == 0
    assert raised(card) == before + 2
    assert last(card) == Diagnostic.REG_UNKNOWN


def test_bus_05_random_accesses_harm_nothing(bus, peer, nic_options, environment, scale):
    """Whatever is read or written anywhere under a running driver, a reset later all is well."""
    rng = random.Random(55)
    host = environment.side == SIDE_HOST
    with Nic.attach(bus, nic_options):
        for _ in range(scale(5000, 300)):
            width = rng.choice(WIDTHS)
            bar = rng.choice((0, 0, 2))
            size = 0x10000 if bar == 0 else 0x1000
            limit = rng.choice((size, 0x1000)) - width
            at = rng.randint(0, limit)
            if not host:
                at -= at % width
            if rng.random() < 0.5:
                assert 0 <= bus.read(bar, at, width) < 1 << 8 * width
            else:
                bus.write(bar, at, rng.getrandbits(8 * width), width)


@pytest.fixture(autouse=True)
def works_afterwards(request, bus, peer, nic_options):
    """After each of these tests a driver finds a card that works."""
    yield
    with Nic.attach(bus, nic_options) as again:
        await_link(again)
        one = frame(PEER_MAC, again.mac_address, 80)
        again.tx[0].send(one)
        peer.drain()
        again.tx[0].drain(5)

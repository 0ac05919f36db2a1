"""Register accesses: what every width at every offset does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic
from tlsnic.abi.layout import Access


def test_registers_have_their_documented_reset_values(rig):
    operator_set = {"MAC_ADDRESS", "LINK_SPEED", "STATUS"}
    for register in r.BAR0.registers:
        if register.name in operator_set:
            continue
        readable = ~register.mask_of(Access.WO, Access.W1P)
        for index in range(register.array_count):
            value = rig.read(register.address(index), register.size_bytes)
            assert value == register.reset & readable, register.name
    assert rig.diagnostics == []


def test_mac_address_is_the_operators(rig):
    assert rig.read(r.MAC_ADDRESS, 8).to_bytes(8, "little")[:6] == rig.nic.config.mac


def test_64_bit_register_is_written_by_halves(rig):
    rig.write(r.ADMIN_QUEUE_RING_BASE, 0x1111_2222)
    rig.write(r.ADMIN_QUEUE_RING_BASE + 4, 0x3333_4444)
    assert rig.read(r.ADMIN_QUEUE_RING_BASE, 8) == 0x3333_4444_1111_2222


def test_two_halves_of_a_counter_are_of_one_moment(rig):
    rig.nic.counters.rx_frames = 0xFFFF_FFFF
    low = rig.read(r.RX_FRAMES)
    rig.nic.counters.rx_frames += 1
    assert (rig.read(r.RX_FRAMES + 4) << 32 | low) == 0xFFFF_FFFF
    assert rig.read(r.RX_FRAMES + 4) == 1  # not latched any more: as it is now


def test_write_between_two_halves_is_read_back(rig):
    assert rig.read(r.ADMIN_QUEUE_RING_BASE) == 0
    rig.write(r.ADMIN_QUEUE_RING_BASE + 4, 7)
    assert rig.read(r.ADMIN_QUEUE_RING_BASE + 4) == 7


def test_eight_bytes_over_two_registers_are_two_accesses(rig):
    assert rig.read(r.MAGIC, 8) == r.BAR0.by_name["VERSION"].reset << 32 | 0x4E534C54
    rig.write(r.ADMIN_QUEUE_RING_SIZE, 0x20_0000_0010, 8)
    assert rig.read(r.ADMIN_QUEUE_RING_SIZE) == 0x10
    assert rig.read(r.ADMIN_QUEUE_COMPLETION_SIZE) == 0x20
    assert rig.diagnostics == []


@pytest.mark.parametrize("width", [1, 2, 8])
@pytest.mark.parametrize("offset", [r.MAGIC + 1, r.MAC_ADDRESS + 3, r.BAR0.size_bytes - 1])
def test_odd_reads_return_the_bytes_and_are_told(rig, width, offset):
    image = b"".join(
        rig.nic.registers.peek(word, 4).to_bytes(4, "little")
        for word in range(offset & ~3, (offset & ~3) + 16, 4)
    )
    start = offset & 3
    expected = int.from_bytes(image[start : start + width], "little")
    assert rig.read(offset, width) == expected
    assert rig.diagnostics[-1] is Diagnostic.REG_ACCESS


@pytest.mark.parametrize(
    ("offset", "width"), [(r.MAX_FRAME, 2), (r.MAX_FRAME, 1), (r.MAX_FRAME + 2, 4)]
)
def test_odd_writes_change_nothing_and_are_told(rig, offset, width):
    before = rig.read(r.MAX_FRAME)
    rig.write(offset, 0x55, width)
    assert rig.read(r.MAX_FRAME) == before
    assert rig.diagnostics == [Diagnostic.REG_ACCESS]


def test_write_to_a_read_only_register_is_ignored_and_told(rig):
    rig.write(r.MAGIC, 0)
    assert rig.read(r.MAGIC) == 0x4E534C54
    assert rig.diagnostics == [Diagnostic.REG_READ_ONLY]


def test_unknown_offset_reads_zero_and_is_told(rig):
    assert rig.read(0x7FF8) == 0
    rig.write(0x7FF8, 1)
    assert rig.diagnostics == [Diagnostic.REG_UNKNOWN] * 2


def test_reserved_bits_are_told_and_the_rest_is_taken(rig):
    rig.write(r.RX_FILTER, 0xFFFF_FFF1)
    assert rig.read(r.RX_FILTER) == 1
    assert rig.diagnostics == [Diagnostic.REG_RESERVED_BITS]


def test_cause_bits_are_cleared_by_ones(rig):
    rig.write(r.INT_TRIGGER, 0b1011, 8)
    assert rig.read(r.INT_CAUSE, 8) == 0b1011
    rig.write(r.INT_CAUSE, 0b0001, 8)
    assert rig.read(r.INT_CAUSE, 8) == 0b1010


def test_values_out_of_range_are_refused(rig):
    rig.write(r.MAX_FRAME, 63)
    rig.write(r.MAX_FRAME, 9023)
    rig.write(r.RX_COALESCE, 0)
    rig.write(r.OFFLOAD_ENABLE, 1 << 18)
    assert rig.read(r.MAX_FRAME) == 1514
    assert rig.diagnostics == [Diagnostic.VALUE_RANGE] * 4


accesses = st.lists(
    st.tuples(
        st.sampled_from([0, 2]),
        st.one_of(
            st.sampled_from([x.offset for x in r.BAR0.registers]),
            st.integers(0, 0xFFFF),
        ),
        st.sampled_from([1, 2, 4, 8]),
        st.one_of(st.none(), st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, 8, 64, 0x1000])),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(accesses)
def test_no_access_ever_fails(sequence):
    rig = Rig()
    for bar, offset, width, value in sequence:
        if bar == 2:
            offset &= 0xFFF
        if value is None:
            result = rig.read(offset, width, bar)
            assert 0 <= result < 1 << 8 * width
        else:
            rig.write(offset, value & (1 << 8 * width) - 1, width, bar)
    rig.run()
    rig.receive(b"\xff" * 60)
    assert rig.read(r.MAGIC) == 0x4E534C54

"""The MSI-X table, and register accesses of odd lengths."""

import pytest

from tlsnic.device.msix import ENTRY_BYTES, PBA_OFFSET, MsixTable
from tlsnic.device.pci import BarHandler


class Bench:
    def __init__(self):
        self.delivered = []
        self.function_masked = False
        self.table = MsixTable(64, self.delivered.append, lambda: self.function_masked)

    def mask(self, vector, masked):
        self.table.write(vector * ENTRY_BYTES + 12, bytes([masked, 0, 0, 0]))

    @property
    def pending(self):
        return int.from_bytes(self.table.read(PBA_OFFSET, 8), "little")


@pytest.fixture
def bench():
    return Bench()


def test_vector_that_was_never_programmed_is_delivered(bench):
    bench.table.trigger(63)
    assert bench.delivered == [63]
    assert bench.table.read(63 * ENTRY_BYTES, 16) == bytes(12) + b"\1\0\0\0"


def test_masked_vector_is_pending_until_it_is_unmasked(bench):
    bench.mask(5, True)
    bench.table.trigger(5)
    bench.table.trigger(6)
    bench.table.trigger(5)
    assert (bench.delivered, bench.pending) == ([6], 1 << 5)
    bench.mask(5, False)
    assert (bench.delivered, bench.pending) == ([6, 5], 0)


def test_function_mask_holds_all_vectors_back(bench):
    bench.function_masked = True
    for vector in (1, 63):
        bench.table.trigger(vector)
    bench.table.poll()
    assert (bench.delivered, bench.pending) == ([], 1 << 1 | 1 << 63)
    bench.function_masked = False
    bench.table.poll()
    assert bench.delivered == [1, 63]


def test_pending_bits_cannot_be_written(bench):
    bench.table.write(PBA_OFFSET, b"\xff" * 8)
    assert bench.pending == 0


def test_write_over_several_entries_programs_each(bench):
    entry = bytes(12) + b"\1\0\0\0"
    bench.table.write(0, entry * 3)
    for vector in range(4):
        bench.table.trigger(vector)
    assert (bench.delivered, bench.pending) == ([3], 0b111)


def test_reset_forgets_masks_and_pending(bench):
    bench.mask(2, True)
    bench.table.trigger(2)
    bench.table.reset()
    assert bench.pending == 0
    bench.table.trigger(2)
    assert bench.delivered == [2]


class Recorder:
    def __init__(self):
        self.accesses = []

    def read(self, bar, offset, width):
        self.accesses.append((bar, offset, width))
        return int.from_bytes(bytes(range(offset, offset + width)), "little")

    def write(self, bar, offset, width, value):
        self.accesses.append((bar, offset, width, value))


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_register_widths_pass_as_they_are(length):
    recorder = Recorder()
    handler = BarHandler(recorder, 2)
    assert handler.read(3, length) == bytes(range(3, 3 + length))
    handler.write(3, b"\x11" * length)
    assert recorder.accesses == [
        (2, 3, length),
        (2, 3, length, int.from_bytes(b"\x11" * length, "little")),
    ]


def test_other_lengths_are_cut_at_natural_boundaries():
    recorder = Recorder()
    handler = BarHandler(recorder, 0)
    assert handler.read(3, 14) == bytes(range(3, 17))
    assert [(offset, width) for _, offset, width in recorder.accesses] == [
        (3, 1),
        (4, 4),
        (8, 8),
        (16, 1),
    ]
    recorder.accesses.clear()
    handler.write(6, bytes(range(6, 9)))
    assert recorder.accesses == [(0, 6, 2, 0x0706), (0, 8, 1, 8)]

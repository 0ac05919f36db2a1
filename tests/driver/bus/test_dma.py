"""The allocator of DMA memory never hands out a byte twice, and always gets it all back."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tlsnic.driver.bus import BusError
from tlsnic.driver.bus.dma import DmaPool, DmaSegment

ARENA_BYTES = 8192
IOVAS = (0x1_0000_0040, 0x1_0000_0040 + ARENA_BYTES, 0x9000)


class PoolMachine(RuleBasedStateMachine):
    """Allocates and frees at random, against a plain list of what is out."""

    def __init__(self):
        super().__init__()
        self.arenas = [bytearray(ARENA_BYTES) for _ in IOVAS]
        self.segments = [
            DmaSegment(memoryview(arena), iova)
            for arena, iova in zip(self.arenas, IOVAS, strict=True)
        ]
        self.unused = list(self.segments)
        self.pool = DmaPool(self.grow)
        self.live = []
        self.stamp = 0

    def grow(self, size_bytes, align):
        if not self.unused:
            raise BusError("no more arenas")
        return [self.unused.pop()]

    @rule(size_bytes=st.integers(1, 3000), align=st.sampled_from([1, 64, 256, 4096]))
    def alloc(self, size_bytes, align):
        try:
            buffer = self.pool.alloc(size_bytes, align)
        except BusError:
            return
        assert len(buffer.view) == buffer.size_bytes == size_bytes
        assert buffer.iova % align == 0
        assert not any(buffer.view)
        self.stamp = self.stamp % 255 + 1
        buffer.view[:] = bytes([self.stamp]) * size_bytes
        self.live.append((buffer, self.stamp))

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 1000))
    def free(self, which):
        buffer, _ = self.live.pop(which % len(self.live))
        buffer.free()
        buffer.free()
        with pytest.raises(ValueError, match="released"):
            buffer.view[0]

    @invariant()
    def nobody_wrote_into_anothers_memory(self):
        for buffer, stamp in self.live:
            assert set(buffer.view) == {stamp}
            arena = next(n for n, i in enumerate(IOVAS) if 0 <= buffer.iova - i < ARENA_BYTES)
            offset = buffer.iova - IOVAS[arena]
            assert self.arenas[arena][offset : offset + buffer.size_bytes] == bytes(buffer.view)
        assert self.pool.live_bytes == sum(buffer.size_bytes for buffer, _ in self.live)

    def teardown(self):
        for buffer, _ in self.live:
            buffer.free()
        assert all(segment.holes == [(0, ARENA_BYTES)] for segment in self.segments)
        self.pool.close()


PoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPool = PoolMachine.TestCase


@pytest.mark.parametrize(("size", "align"), [(0, 64), (-1, 64), (64, 0), (64, 3), (64, -64)])
def test_impossible_requests_are_refused(size, align):
    with pytest.raises(BusError):
        DmaPool(lambda size_bytes, align: []).alloc(size, align)


def test_memory_that_is_too_scattered_is_an_error_with_a_fix():
    pool = DmaPool(lambda size_bytes, align: [DmaSegment(memoryview(bytearray(4096)), 0)])
    with pytest.raises(BusError, match=r"no contiguous DMA memory of 5000 bytes.*fix"):
        pool.alloc(5000, 64)
    pool.close()


def test_slices_kept_beyond_close_stay_readable_and_free_is_harmless():
    pool = DmaPool(lambda size_bytes, align: [DmaSegment(memoryview(bytearray(4096)), 0)])
    buffer = pool.alloc(100, 64)
    kept = buffer.view[:4]
    pool.close()
    buffer.free()
    assert bytes(kept) == bytes(4)
    assert pool.live_bytes == 0

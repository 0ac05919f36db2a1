"""One direction of a bad wire: settings, and the lane of frames they act on.

A frame passes in this order: lost or not; one bit flipped or not; doubled or not; held back until
others overtook it or not; delayed; sent at the rate. Only holding back reorders: delay and jitter
keep the order.

Repeatable: the lane draws one random number per frame for every kind of impairment, on or off,
each kind from its own stream. So the same seed, frames, times and settings give the same result,
and switching one kind on changes no other kind's choices. Deterministic forms (`drop`, `rule`)
count frames from 0 at the moment the settings are made.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from tlsnic.device.packet.vnet import VNET_GSO_NONE, VnetHeader

ETHERNET_OVERHEAD_BYTES = 24
"""FCS 4, preamble 8, gap 12: what a frame takes on an Ethernet beyond its own bytes."""
DEFAULT_QUEUE_FRAMES = 1000


class Verdict(NamedTuple):
    """What happens to one frame; the default passes it on."""

    drop: bool = False
    copies: int = 1
    """How often it arrives."""
    flip_bit: int | None = None
    """Number of the bit to invert; bit 0 is the lowest of the first byte."""
    overtaken_by: int = 0
    """Held back until so many later frames of the lane went first (or for `hold_ns`)."""
    delay_ns: int = 0
    """Delay beyond that of the settings."""


PASS = Verdict()
DROP = Verdict(drop=True)

Rule = Callable[[int, memoryview], Verdict | None]
"""Decides on the frame of an index; None leaves it to the random settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairments:
    """What one direction does to frames. Probabilities are 0 to 1, per frame.

    Raises:
        ValueError: a value is out of its range.
    """

    loss: float = 0.0
    corrupt: float = 0.0
    """One bit, anywhere in the frame, is inverted."""
    duplicate: float = 0.0
    reorder: float = 0.0
    """The frame is overtaken by the next `reorder_gap` frames."""
    reorder_gap: int = 3
    hold_ns: int = 10_000_000
    """A frame held back for reordering goes after this time if too few others come."""
    delay_ns: int = 0
    jitter_ns: int = 0
    """Added to the delay: uniform from 0 to this."""
    rate_bit_per_s: int = 0
    """0: unlimited. Each frame counts with ETHERNET_OVERHEAD_BYTES, and never less than 64 + 20."""
    queue_frames: int = DEFAULT_QUEUE_FRAMES
    """Frames waiting in the lane; when it is full, new ones are lost."""
    drop: Collection[int] = frozenset()
    """Indices of frames to lose."""
    rule: Rule | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "corrupt", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, not {getattr(self, name)}")
        for name in ("hold_ns", "delay_ns", "jitter_ns", "rate_bit_per_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative")
        for name in ("reorder_gap", "queue_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")

    @property
    def hits_single_frames(self) -> bool:
        """Whether frames are told apart, so that super-frames must not pass."""
        return bool(
            self.loss
            or self.corrupt
            or self.duplicate
            or self.reorder
            or self.drop
            or self.rule is not None
        )

    @property
    def active(self) -> bool:
        """Whether anything is done to frames at all."""
        return self.hits_single_frames or bool(
            self.delay_ns or self.jitter_ns or self.rate_bit_per_s
        )


NO_IMPAIRMENTS = Impairments()


@dataclass(slots=True)
class ImpairmentCounters:
    """What a lane did; a frame can count in several fields."""

    frames: int = 0
    lost: int = 0
    corrupted: int = 0
    duplicated: int = 0
    reordered: int = 0
    delayed: int = 0
    overflowed: int = 0
    """Lost because the lane's queue was full."""
    super_frames: int = 0
    """Passed while frames were told apart, but could not be cut any more."""


class Kind(enum.Enum):
    """The random streams of a lane."""

    LOSS = "loss"
    CORRUPT = "corrupt"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    JITTER = "jitter"


class _Queued(NamedTuple):
    due_ns: int
    data: bytes
    vnet: VnetHeader | None


@dataclass(slots=True)
class _Held:
    data: bytes
    vnet: VnetHeader | None
    verdict: Verdict
    still_to_pass: int
    until_ns: int


class Lane:
    """One direction: frames go in with `push()`, and come out of `pop()` when they are due."""

    def __init__(self, seed: int, direction: str) -> None:
        self.counters = ImpairmentCounters()
        self._direction = direction
        self.reseed(seed)
        self._settings = NO_IMPAIRMENTS
        self._index = 0
        self._held: list[_Held] = []
        self._queue: deque[_Queued] = deque()
        self._line_free_ns = 0

    def reseed(self, seed: int) -> None:
        """Begin the random streams anew."""
        self._draws = tuple(
            # A string seed is hashed with SHA-512: streams of near seeds have nothing in common.
            random.Random(f"{seed}/{self._direction}/{kind.value}").random
            for kind in Kind
        )

    @property
    def settings(self) -> Impairments:
        return self._settings

    @settings.setter
    def settings(self, settings: Impairments) -> None:
        self._settings = settings
        self._index = 0

    @property
    def passes_through(self) -> bool:
        """Whether a frame may go past the lane: nothing is done to it and none is ahead of it."""
        return not (self._settings.active or self._queue or self._held)

    def skip(self) -> None:
        """Account for a frame that goes past the lane: every stream advances all the same."""
        for draw in self._draws:
            draw()
        self._index += 1
        self.counters.frames += 1

    def push(self, data: bytes, vnet: VnetHeader | None, now_ns: int) -> None:
        """Decide on a frame, and queue what becomes of it."""
        settings, counters = self._settings, self.counters
        loss, corrupt, duplicate, reorder, jitter = [draw() for draw in self._draws]
        index = self._index
        self._index += 1
        counters.frames += 1
        if vnet is not None and vnet.gso_type != VNET_GSO_NONE and settings.hits_single_frames:
            counters.super_frames += 1
        verdict = settings.rule(index, memoryview(data)) if settings.rule is not None else None
        if verdict is None and not (
            loss < settings.loss
            or corrupt < settings.corrupt
            or duplicate < settings.duplicate
            or reorder < settings.reorder
        ):
            verdict = PASS
        elif verdict is None:
            # Below its probability, a draw is again uniform: it chooses the bit as well.
            verdict = Verdict(
                drop=loss < settings.loss,
                copies=2 if duplicate < settings.duplicate else 1,
                flip_bit=int(corrupt / settings.corrupt * len(data) * 8)
                if corrupt < settings.corrupt
                else None,
                overtaken_by=settings.reorder_gap if reorder < settings.reorder else 0,
            )
        if verdict.drop or index in settings.drop:
            counters.lost += 1
            return
        if len(self._queue) + len(self._held) >= settings.queue_frames:
            counters.overflowed += 1
            return
        if settings.delay_ns or settings.jitter_ns:
            verdict = verdict._replace(
                delay_ns=verdict.delay_ns + settings.delay_ns + int(jitter * settings.jitter_ns)
            )
        if verdict.flip_bit is not None:
            counters.corrupted += 1
            data = _with_bit_flipped(data, verdict.flip_bit)
        if verdict.copies > 1:
            counters.duplicated += verdict.copies - 1
        self._release_held(now_ns)
        if verdict.overtaken_by > 0:
            until_ns = now_ns + settings.hold_ns
            self._held.append(_Held(data, vnet, verdict, verdict.overtaken_by, until_ns))
        else:
            self._enqueue(data, vnet, verdict, now_ns)
            self._count_passing(now_ns)

    def _count_passing(self, now_ns: int) -> None:
        """A frame went: those held back have been overtaken once more."""
        for held in self._held:
            held.still_to_pass -= 1
        self._release_held(now_ns)

    def _release_held(self, now_ns: int) -> None:
        """Queue the frames that were overtaken often enough or waited long enough."""
        if not self._held:
            return
        staying = []
        for held in self._held:
            if held.still_to_pass > 0 and held.until_ns > now_ns:
                staying.append(held)
            else:
                if held.still_to_pass < held.verdict.overtaken_by:
                    self.counters.reordered += 1
                when_ns = now_ns if held.still_to_pass <= 0 else held.until_ns
                self._enqueue(held.data, held.vnet, held.verdict, when_ns)
        self._held = staying

    def _enqueue(self, data: bytes, vnet: VnetHeader | None, verdict: Verdict, at_ns: int) -> None:
        rate = self._settings.rate_bit_per_s
        due_ns = at_ns + verdict.delay_ns
        if verdict.delay_ns:
            self.counters.delayed += 1
        for _ in range(verdict.copies):
            due_ns = max(due_ns, self._line_free_ns)
            if rate:
                line_bytes = max(len(data), 60) + ETHERNET_OVERHEAD_BYTES
                due_ns += line_bytes * 8 * 10**9 // rate
            self._line_free_ns = due_ns
            self._queue.append(_Queued(due_ns, data, vnet))

    def peek(self, now_ns: int) -> tuple[bytes, VnetHeader | None] | None:
        """The next frame that is due, left in the lane; None if none is."""
        self._release_held(now_ns)
        if self._queue and self._queue[0].due_ns <= now_ns:
            _, data, vnet = self._queue[0]
            return data, vnet
        return None

    def pop(self) -> None:
        """Take out what `peek()` showed."""
        self._queue.popleft()

    def next_deadline_ns(self) -> int | None:
        """When the next frame is due, or a held frame has waited long enough."""
        due = [held.until_ns for held in self._held]
        if self._queue:
            due.append(self._queue[0].due_ns)
        return min(due, default=None)


def _with_bit_flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)

"""Records decrypted under loss, as in "Autonomous NIC Offloads" (Pismenny et al., ASPLOS 2021).

Each flow of the card gets the same stream of records, with its own segment boundaries, sequence
numbers and losses; all flows go on by one segment per step. The same losses are used for each resync mode.

The bound (1-p)^k is the share of records all of whose k segments arrive at first: a segment that is sent
again is old for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import zip_longest
from operator import add
from random import Random
from statistics import stdev
from typing import Final

from bench.loss_traffic import (
    IV,
    KEY,
    MSS,
    NOTHING,
    SEGMENT_NS,
    Host,
    Shares,
    Stream,
    account,
    arrivals,
    cut,
)
from bench.measure import SHARE, Effort, Row, Target
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT, SUITES
from tlsnic.device.core.counters import Counters
from tlsnic.device.tls.keys import KeyCache, KeyMaterial
from tlsnic.device.tls.opening import make_opener
from tlsnic.device.tls.record import RecordFormat
from tlsnic.device.tls.rx_flow import RxFlow


@dataclass(frozen=True)
class Mode:
    """A way of resync that the driver can choose for a flow."""

    name: str
    what: str
    host: bool
    tag: bool


@dataclass(frozen=True)
class Published:
    """Shares of the paper's raw figures, in %."""

    fully: float
    partly: float


HOST: Final = Mode("host", "host-confirmed", host=True, tag=False)
TAG: Final = Mode("tag", "tag-verified", host=False, tag=True)
BOTH: Final = Mode("both", "tag-verified, else host-confirmed", host=True, tag=True)
MODES: Final = (HOST, TAG, BOTH)
PUBLISHED: Final = {
    0.0: Published(84.1, 0.0),
    0.01: Published(73.1, 1.6),
    0.02: Published(70.8, 4.8),
    0.03: Published(61.0, 8.5),
    0.05: Published(43.2, 11.2),
}
"""By loss rate."""
LOSSES: Final = tuple(PUBLISHED)
ROUND_TRIPS: Final = (20, 60, 200)
"""In segments."""
ANY: Final = 0
"""The round trip of rows without loss, where nothing is sent again."""
PUBLISHED_ROUND_TRIP: Final = 20
"""Where the published figures are the target."""
PART_OF_BOUND: Final = 0.95
"""The target of tag-verified resync."""

FLOWS: Final = 64
RECORDS: Final = 432
"""Counted in each flow."""
WARM_UP: Final = 48
"""Records before those: a flow begins in step, which would flatter."""


@dataclass(frozen=True)
class LossRow(Row):
    """A row with the shares behind it. `value` is the share of records fully offloaded, in %."""

    mode: Mode = HOST
    loss: float = 0.0
    round_trip: int = ANY
    """In segments."""
    shares: Shares = NOTHING
    error: float = 0.0
    """Standard error of `value`, from how flows differ, in percentage points."""
    counters: dict[str, int] = field(default_factory=dict)
    """Those of resync, by their names."""

    @property
    def partly(self) -> float:
        """Share of records partly offloaded, in %."""
        return 100 * self.shares.partly / self.shares.records

    @property
    def whole(self) -> float:
        """Share of records that lost no segment, in %: the bound as this run's losses have it."""
        return 100 * self.shares.whole / self.shares.records

    @property
    def bound(self) -> float:
        """(1-p)^k, in %."""
        return bound(self.loss, self.shares)

    @property
    def published(self) -> Published:
        """The paper's figures at this loss rate."""
        return PUBLISHED[self.loss]

    @property
    def tag_ceiling(self) -> float:
        """The part of the bound that tags alone can reach when retransmissions come too late to help.

        A whole record is decrypted when its number is known at its header. Look back from there, record by
        record: the number is known when a whole record comes first, (1-p)^(k-1) each, and unknown when
        a lost header does, p each.
        """
        whole: float = (1 - self.loss) ** (self.shares.segments_per_record - 1)
        return whole / (whole + self.loss)

    def as_dict(self) -> dict[str, object]:
        return super().as_dict() | {
            "mode": self.mode.name,
            "loss": self.loss,
            "round_trip_segments": self.round_trip,
            "records": self.shares.records,
            "fully": self.value,
            "fully_error": self.error,
            "partly": self.partly,
            "whole": self.whole,
            "bound": self.bound,
            "segments_per_record": self.shares.segments_per_record,
            "published_fully": self.published.fully,
            "published_partly": self.published.partly,
            "counters": self.counters,
        }


class Experiment:
    """Flows of the card and their hosts, over one stream."""

    def __init__(self, records: int, *, warm_up: int = WARM_UP, flows: int = FLOWS) -> None:
        self._warm_up = warm_up
        self._flows = flows
        self._stream = Stream(warm_up + records)
        self._format = RecordFormat(SUITES[CipherSuite.TLS13_AES_128_GCM], False, MAX_PLAINTEXT)

    def row(self, mode: Mode, loss: float, round_trip: int) -> LossRow:
        """Run all flows to their end.

        Raises:
            WrongPlaintext: the device decrypted something wrongly.
        """
        stream, counters, cache = self._stream, Counters(), KeyCache()
        hosts: list[Host] = []
        senders: list[Iterator[int | None]] = []
        for index in range(self._flows):
            random = Random(f"loss {loss} round trip {round_trip} flow {index}")
            starts = cut(len(stream.wire), random.randint(1, MSS))
            sequence = random.getrandbits(32)
            flow = self._flow(mode, sequence, index, counters, cache)
            hosts.append(Host(stream, starts, flow, sequence))
            senders.append(arrivals(len(starts) - 1, loss, round_trip, random))
        for step, segments in enumerate(zip_longest(*senders)):
            now_ns = step * SEGMENT_NS
            for host, segment in zip(hosts, segments, strict=True):
                if segment is not None:
                    host.arrive(segment, now_ns)
        assert all(host.in_order_bytes == len(stream.wire) for host in hosts)
        each = [
            account(host.fates, stream.record_bytes, self._warm_up, stream.records)
            for host in hosts
        ]
        return _row(mode, loss, round_trip, each, counters)

    def _flow(
        self, mode: Mode, sequence: int, index: int, counters: Counters, cache: KeyCache
    ) -> RxFlow:
        return RxFlow(
            self._format,
            make_opener(self._format, KeyMaterial(KEY, IV), cache),
            tcp_sequence=sequence,
            record_number=0,
            address=index.to_bytes(12, "big"),
            vlan_id=None,
            resync_host=mode.host,
            resync_tag=mode.tag,
            counters=counters,
        )


def _row(
    mode: Mode, loss: float, round_trip: int, each: list[Shares], counters: Counters
) -> LossRow:
    shares = reduce(add, each)
    fully = 100 * shares.fully / shares.records
    target: Target | None = None
    if mode is HOST:
        baseline, baseline_name = PUBLISHED[loss].fully, "the published share"
        if loss and round_trip == PUBLISHED_ROUND_TRIP:
            target = Target(1)
    else:
        baseline, baseline_name = bound(loss, shares), "the bound (1-p)^k"
        if mode is TAG:
            target = Target(PART_OF_BOUND)
    by_flow = [100 * one.fully / one.records for one in each]
    return LossRow(
        f"loss.{mode.name}.{loss:.0%}" + (f".{round_trip}" if loss else ""),
        f"records fully offloaded, {mode.what}, loss {loss:.0%}, round trip {round_trip} segments",
        fully,
        "%",
        baseline=baseline,
        baseline_name=baseline_name,
        kind=SHARE,
        ratio=fully / baseline,
        target=target,
        mode=mode,
        loss=loss,
        round_trip=round_trip,
        shares=shares,
        error=stdev(by_flow) / len(by_flow) ** 0.5 if len(by_flow) > 1 else 0.0,
        counters={name: value for name, value in counters.as_dict().items() if "resync" in name},
    )


def bound(loss: float, shares: Shares) -> float:
    """(1-p)^k in %: no device can decrypt more."""
    return 100 * float((1 - loss) ** shares.segments_per_record)


def run(effort: Effort) -> list[Row]:
    """All modes, loss rates and round trips."""
    experiment = Experiment(effort.count(RECORDS), warm_up=effort.count(WARM_UP))
    rows: list[Row] = []
    for mode in MODES:
        rows.append(experiment.row(mode, 0.0, ANY))
        rows += [
            experiment.row(mode, loss, round_trip)
            for round_trip in ROUND_TRIPS
            for loss in LOSSES
            if loss
        ]
    return rows

"""What a connection counts."""

from __future__ import annotations


class Statistics:
    """Counters of one connection. Segments count as the card is given them: cut or joined."""

    __slots__ = (
        "acks_sent",
        "bad_frames",
        "bytes_received",
        "bytes_retransmitted",
        "bytes_sent",
        "challenge_acks",
        "duplicate_acks",
        "duplicates",
        "fast_recoveries",
        "foreign_frames",
        "lost_retransmits",
        "out_of_order",
        "paws_drops",
        "retransmits",
        "segments_received",
        "segments_sent",
        "tail_probes",
        "timeouts",
        "unacceptable",
        "undone_recoveries",
        "window_probes",
    )

    def __init__(self) -> None:
        self.segments_sent = 0
        self.segments_received = 0
        self.bytes_sent = 0
        """Payload, the first time."""
        self.bytes_received = 0
        """Payload, in order, once."""
        self.retransmits = 0
        self.bytes_retransmitted = 0
        self.fast_recoveries = 0
        self.undone_recoveries = 0
        """Recoveries found to have been for nothing, because of reordering."""
        self.lost_retransmits = 0
        """Retransmits found to be lost themselves without waiting for the timer."""
        self.tail_probes = 0
        self.timeouts = 0
        self.acks_sent = 0
        """Segments without payload that only acknowledge."""
        self.duplicate_acks = 0
        """Received: with new SACK blocks, or duplicates as of RFC 5681."""
        self.out_of_order = 0
        self.duplicates = 0
        """Received segments of which nothing was new."""
        self.unacceptable = 0
        """Received outside of the window, or acknowledging what was never sent."""
        self.paws_drops = 0
        self.challenge_acks = 0
        self.window_probes = 0
        self.bad_frames = 0
        """Not readable as TCP, or with a bad checksum."""
        self.foreign_frames = 0
        """Of another connection."""

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}

"""The examples with a bug in their driver, to be found with the tools: see docs/debugging.md.

    .venv/bin/python examples/broken.py answers --size 2 --resync host     # then as examples/receive.py
    .venv/bin/python examples/broken.py marks --size 2
    .venv/bin/python examples/broken.py presync --size 2                   # then as examples/transmit.py

Each bug is one that drivers have had, put into the reference driver while it runs. What it is stands
below, where it is planted: do not read on if you want to find it yourself.
"""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tlsnic.driver.rx import RxPacket, RxQueue
from tlsnic.driver.tls.framing import LaidOutRecord
from tlsnic.driver.tls.posting import Packet
from tlsnic.driver.tls.records import Entry
from tlsnic.driver.tls.resync_table import ResyncTable
from tlsnic.driver.tls.send_tag import Outcome, SendTag


def plant_answers() -> None:
    """The driver answers the card's question with the number of the record *before* the one that
    starts there: its table counts records that are complete."""
    lookup = ResyncTable.lookup

    def number_of_last(table: ResyncTable, tcp_sequence: int) -> int | None:
        number = lookup(table, tcp_sequence)
        return number - 1 if number else number

    replace(ResyncTable, "lookup", number_of_last)


def plant_marks() -> None:
    """The driver looks at a batch's first completion for the mark of all its packets: right as long
    as they are all alike."""
    poll = RxQueue.poll

    def alike(queue: RxQueue, limit: int = 64, *, copy: bool = True) -> list[RxPacket]:
        packets = poll(queue, limit, copy=copy)
        return [packet._replace(tls_state=packets[0].tls_state) for packet in packets]

    replace(RxQueue, "poll", alike)


def plant_presync() -> None:
    """A retransmit's presync block has the record's place among those that are not acknowledged,
    and not its number: the same until the first acknowledgement."""
    send_presync = SendTag._send_presync

    def counted_from_the_oldest(tag: SendTag, out: Packet, entry: Entry, *, moves: bool) -> Outcome:
        record, oldest = entry.record, next(iter(tag.records)).record.number
        assert isinstance(record, LaidOutRecord)
        wrong = record._replace(number=record.number - oldest)
        return send_presync(tag, out, entry._replace(record=wrong), moves=moves)

    replace(SendTag, "_send_presync", counted_from_the_oldest)


def replace(owner: object, name: str, function: object) -> None:
    """Put the bug in place of what was right."""
    setattr(owner, name, function)


BUGS: Final[dict[str, tuple[Callable[[], None], str]]] = {
    "answers": (plant_answers, "receive.py"),
    "marks": (plant_marks, "receive.py"),
    "presync": (plant_presync, "transmit.py"),
}


def main() -> None:
    """Plant the bug, run the example with what else is on the command line."""
    if len(sys.argv) < 2 or sys.argv[1] not in BUGS:
        print(f"usage: broken.py {{{','.join(BUGS)}}} [options of the example]", file=sys.stderr)
        sys.exit(2)
    plant, example = BUGS[sys.argv.pop(1)]
    plant()
    runpy.run_path(str(Path(__file__).with_name(example)), run_name="__main__")


if __name__ == "__main__":
    main()

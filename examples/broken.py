"""The examples with a bug in their driver, to be found with the tools: see docs/debugging.md.

    .venv/bin/python examples/broken.py answers --size 2 --resync host     # then as examples/receive.py
    .venv/bin/python examples/broken.py wakeup --size 5 --loss 0 --reorder 0
    .venv/bin/python examples/broken.py presync --size 2                   # then as examples/transmit.py

Each bug is one that drivers have had, put into the reference driver while it runs. What it is stands
below, where it is planted: do not read on if you want to find it yourself.
"""

import runpy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tlsnic.abi.structures import TlsPresync
from tlsnic.driver.queue import ARM, COMPLETION_PRODUCER, Queue
from tlsnic.driver.tls import send_tag
from tlsnic.driver.tls.presync import presync_parts
from tlsnic.driver.tls.records import Entry
from tlsnic.driver.tls.resync_table import ResyncTable
from tlsnic.driver.waiting import Waiter


def plant_answers() -> None:
    """The driver answers the card's question with the number of the record *before* the one that
    starts there: its table counts records that are complete."""
    lookup = ResyncTable.lookup

    def number_of_last(table: ResyncTable, tcp_sequence: int) -> int | None:
        number = lookup(table, tcp_sequence)
        return number - 1 if number else number

    replace(ResyncTable, "lookup", number_of_last)


def plant_wakeup() -> None:
    """Before it sleeps, the driver arms the interrupt with the card's producer index, read from the
    register, in place of the index that it has come to itself, and does not look again: what came
    since it looked last is behind that index, and nothing tells of it."""

    def arm_behind_the_newest(queue: Queue) -> None:
        newest = queue._access.read32(queue.registers + COMPLETION_PRODUCER)
        queue.completions.unreturned = 0
        queue._ring_doorbell(queue.completion_doorbell, newest | ARM)

    def sleep_at_once(
        waiter: Waiter,
        ready: Callable[[], bool],
        arm: Callable[[], None],
        check: Callable[[], None],
        vectors: Iterable[int],
        timeout_s: float,
    ) -> bool:
        if not ready() and timeout_s > 0 and waiter.interrupts is not None:
            arm()
            waiter.interrupts.poll(timeout_s, tuple(vectors))
            check()
        return ready()

    replace(Queue, "arm", arm_behind_the_newest)
    replace(Waiter, "wait", sleep_at_once)


def plant_presync() -> None:
    """A retransmit's presync block has the record's place among those that are not acknowledged,
    and not its number: the same until the first acknowledgement."""
    first: list[int] = []

    def counted_from_the_oldest(
        sequence: int, length: int, entry: Entry, moves: bool, *, is_cbc: bool
    ) -> tuple[bytes, bytes]:
        block, prefix = presync_parts(sequence, length, entry, moves, is_cbc=is_cbc)
        presync = TlsPresync.unpack_from(block)
        first.append(presync.record_number)
        return presync._replace(record_number=presync.record_number - first[0]).pack(), prefix

    replace(send_tag, "presync_parts", counted_from_the_oldest)


def replace(owner: object, name: str, function: object) -> None:
    """Put the bug in place of what was right."""
    setattr(owner, name, function)


BUGS: Final[dict[str, tuple[Callable[[], None], str]]] = {
    "answers": (plant_answers, "receive.py"),
    "wakeup": (plant_wakeup, "receive.py"),
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

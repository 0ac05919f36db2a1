"""Records of the cards of a test run, kept when a test failed: what `tlsnic replay` takes."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

KEY_SUFFIX = ".key"
"""As `tlsnic device --record FILE` names the file with the keys."""


class FailureRecords:
    """Where the cards of one run write their records.

    Args:
        work: the run's own directory, which goes with it.
        folder: where records are kept; None: none are made.
        name: of the run, in the names of what is kept.
    """

    def __init__(self, work: Path, folder: Path | None, name: str) -> None:
        self._work = work
        self._folder = folder
        self._name = name
        self._cards: list[str] = []

    def path_for(self, card: str) -> str:
        """The file of the card called `card`; empty when none is to be made."""
        if self._folder is None:
            return ""
        self._cards.append(card)
        return str(self._work / f"{card}.record")

    def keep(self) -> Sequence[Path]:
        """Take the records out of the run's directory, once the cards have ended; say where to."""
        kept = []
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            when = time.strftime("%Y%m%d-%H%M%S")
            for card in self._cards:
                record = self._work / f"{card}.record"
                if record.exists():
                    kept.append(self._folder / f"{when}-{self._name}-{card}.record")
                    for suffix in ("", KEY_SUFFIX):
                        _move(f"{record}{suffix}", f"{kept[-1]}{suffix}")
        for path in kept:
            size_mb = path.stat().st_size / 1e6
            print(
                f"--- what the card saw and did ({size_mb:.0f} MB; its keys, if they may go along, "
                f"are in {path.name}{KEY_SUFFIX}):\n    tlsnic replay {path}",
                file=sys.stderr,
            )
        return kept


def _move(source: str, target: str) -> None:
    """Across file systems, too; only its owner may read it, as before."""
    shutil.move(source, target)
    os.chmod(target, 0o600)

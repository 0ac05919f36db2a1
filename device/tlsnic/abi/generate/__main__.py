"""Command line of the generator: `python -m tlsnic.abi.generate [--check]`."""

import argparse
import sys
from pathlib import Path

from tlsnic.abi.generate.build import MANUAL, RDL, ROOT, outputs
from tlsnic.abi.generate.nodes import InterfaceError


def main(arguments: list[str] | None = None) -> int:
    """Write the generated files, or with --check name those that are stale.

    Returns 0 when all is well, 1 when --check found stale files, 2 when the RDL or a chapter of
    the manual is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m tlsnic.abi.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name stale files")
    parser.add_argument("--rdl", type=Path, default=RDL, help="the hardware description")
    parser.add_argument("--manual", type=Path, default=MANUAL, help="chapters written by hand")
    parser.add_argument("--root", type=Path, default=ROOT, help="where the outputs belong")
    options = parser.parse_args(arguments)
    try:
        files = outputs(options.rdl, options.manual, options.root)
    except (InterfaceError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    stale = [path for path, text in files.items() if _content(path) != text]
    for path in stale:
        if options.check:
            print(f"{path}: stale; run python -m tlsnic.abi.generate", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and stale else 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())

"""`tlsnic parts`: make every part that is missing, and print where they are."""

import argparse

from tlsnic.qemu.parts import __main__ as parts_main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`tlsnic parts` has no options: environment variables name a user's own parts."""


def main(_args: argparse.Namespace) -> int:
    """Exit status as `python -m tlsnic.qemu.parts` has it."""
    return parts_main.main()

"""The table of all commands, in the order of the help."""

from collections.abc import Mapping
from typing import Final

from tlsnic.device.shell.command import Command
from tlsnic.device.shell.commands import (
    counters,
    device,
    general,
    inject,
    queues,
    registers,
    tls,
    tracing,
)

GROUPS: Final[Mapping[str, tuple[Command, ...]]] = {
    "The card": device.COMMANDS,
    "Registers": registers.COMMANDS,
    "Queues, interrupts and memory": queues.COMMANDS,
    "TLS": tls.COMMANDS,
    "Counters and mistakes": counters.COMMANDS,
    "Traces": tracing.COMMANDS,
    "Trouble on purpose": inject.COMMANDS,
    "The shell": general.COMMANDS,
}
COMMANDS: Final[Mapping[str, Command]] = {
    command.name: command for commands in GROUPS.values() for command in commands
}

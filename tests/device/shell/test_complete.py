"""Completion at each place of a line."""

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from shell_rig import FakeBackend, Typed

from tlsnic.device.shell.complete import ShellCompleter
from tlsnic.device.shell.table import COMMANDS


class Keyboard:
    def __init__(self):
        self.backend = FakeBackend()
        self.typed = Typed(self.backend)
        self.now_s = 0.0
        self.completer = ShellCompleter(self.typed.shell, clock_s=lambda: self.now_s)

    def __call__(self, line):
        found = self.completer.get_completions(Document(line), CompleteEvent())
        return [completion.text for completion in found]


@pytest.fixture
def keyboard():
    return Keyboard()


def test_commands(keyboard):
    assert keyboard("") == list(COMMANDS)
    assert keyboard("re") == ["reset", "registers", "read", "resync", "reconnect"]
    assert keyboard("nonsense ") == []


def test_registers_groups_and_fields(keyboard):
    assert keyboard("registers CONT") == ["CONTROL"]
    assert "device-control" in keyboard("registers dev")
    assert keyboard("registers control.t") == ["control.TX_ENABLE"]
    assert keyboard("registers STATUS CONTR") == ["CONTROL"], "after other words, too"
    assert keyboard("read tx_queue_st") == ["TX_QUEUE_STATUS"]


def test_assignments(keyboard):
    assert keyboard("write CONTROL.") == [
        "CONTROL.RESET=",
        "CONTROL.RX_ENABLE=",
        "CONTROL.TX_ENABLE=",
    ]
    assert keyboard("write CONTROL TX") == ["TX_ENABLE="]
    assert "OFFLOAD_ENABLE=RX_TLS" in keyboard("write OFFLOAD_ENABLE=RX_")
    assert keyboard("write OFFLOAD_ENABLE=RX_TLS|RS") == ["OFFLOAD_ENABLE=RX_TLS|RSS"]
    assert keyboard("write RSS_CONTROL.TYPES=TCP_IPV4|TCP_") == [
        "RSS_CONTROL.TYPES=TCP_IPV4|TCP_IPV4",
        "RSS_CONTROL.TYPES=TCP_IPV4|TCP_IPV6",
    ]
    assert keyboard("write RSS_CONTROL TYPES=UDP_IPV6") == ["TYPES=UDP_IPV6"]


def test_handles_are_asked_for_but_not_for_every_key(keyboard):
    assert keyboard("flow 0x") == ["0x10001", "0x20002"]
    keyboard("flow 0x1")
    asked = [method for method, _ in keyboard.backend.calls]
    assert asked == ["flows.list"]
    keyboard.now_s = 10.0
    keyboard("flow 0x1")
    assert len(keyboard.backend.calls) == 2
    assert keyboard("trace tls --flow ") == ["0x10001", "0x20002"]


def test_device_that_is_gone_completes_nothing(keyboard):
    keyboard.backend.gone = True
    assert keyboard("flow ") == []
    assert keyboard("fault ") == ["clear"]


def test_choices_and_options(keyboard):
    assert keyboard("flow 0x10001 ") == ["history"]
    assert keyboard("capture st") == ["start", "stop"]
    assert keyboard("impair ") == ["tx", "rx", "both"]
    assert "loss=" in keyboard("impair rx ")
    assert keyboard("queue rx --f") == ["--first"]
    assert keyboard("trace d") == ["dma"]
    assert keyboard("queue r") == ["receive", "rx"]
    assert keyboard("help wa") == ["watch"]
    assert keyboard("counters rx_tls_res") != []
    assert keyboard("fault sw") == ["swallow_interrupts"]
    assert keyboard("fault swallow_interrupts ") == ["on", "off", "count="]


def test_snapshots(keyboard):
    keyboard.typed("snapshot before")
    assert keyboard("diff ") == ["before"]


def test_command_behind_watch(keyboard):
    assert keyboard("watch cou") == ["counters"]
    assert keyboard("watch --count 3 registers STAT") == ["STATUS"]
    assert keyboard("watch flow 0x2") == ["0x20002"]


def test_paths(keyboard, tmp_path):
    (tmp_path / "run.pcapng").touch()
    assert keyboard(f"capture start {tmp_path}/ru") == ["n.pcapng"]


def test_inside_quotes(keyboard):
    assert keyboard("registers 'CONT") == ["CONTROL"]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_place_of_any_command_fails(keyboard, name):
    for rest in ("", " ", " x ", " x y ", " --", " --count ", " =", " CONTROL.=", " a=b|"):
        keyboard(name + rest)

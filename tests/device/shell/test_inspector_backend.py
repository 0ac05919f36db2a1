"""The shell on the real inspector of a card on the bench: what it shows is so, and never a key."""

import json

import pytest
from control_rig import inspector_of
from receive_rig import ReceiveRig, begun
from shell_rig import Typed
from stream_bench import Stream
from tls_rig import GCM

from tlsnic.abi import registers as r
from tlsnic.device.shell.backend import LocalBackend

LOOKING = [
    "info",
    "cards",
    "registers all --all",
    "registers all --fields",
    "queues --all",
    "queue tx 0 --all",
    "queue rx 0 --all",
    "queue admin 0 --first 0 --count 32 --all",
    "queue event 0 --all",
    "interrupts --all",
    "flows",
    "resync",
    "counters --all",
    "diagnostics",
    "impair",
    "fault",
    "snapshot",
    "diff",
]


@pytest.fixture
def lost():
    """A card with a flow in each direction; the receiving one has lost its place, and asks."""
    rig, wire, handle = begun(*[700] * 6)
    sender = Stream(GCM)
    rig.create(sender, ip_version=6)
    rig.feed(wire, 0, 1000)
    rig.feed(wire, 2500, 3500)
    rig.wire_stream, rig.sender, rig.handle = wire, sender, handle
    return rig


def shell_on(rig, **options):
    inspector = inspector_of(rig)
    cards = [{"card": 0, "socket": "", "wire": "memory", "mac": ""}]
    return Typed(LocalBackend(inspector, cards), **options)


def lines_for(rig):
    return [*LOOKING, f"flow {rig.handle:#x}", f"flow {rig.handle:#x} history"]


@pytest.mark.parametrize("as_json", [False, True])
def test_everything_that_looks_works(lost, as_json):
    typed = shell_on(lost, as_json=as_json)
    for line in lines_for(lost):
        shown = typed(line)
        assert typed.status == 0, shown
        if as_json:
            assert json.loads(shown)["ok"]


def test_looking_changes_nothing(lost):
    typed = shell_on(lost)
    before = [lost.nic.peek(0, offset, 4) for offset in range(0, 0x1000, 4)]
    for line in lines_for(lost):
        typed(line)
    assert [lost.nic.peek(0, offset, 4) for offset in range(0, 0x1000, 4)] == before


def test_no_byte_of_a_key_is_shown(lost):
    secrets = {
        bytes(part)
        for stream in (lost.wire_stream, lost.sender)
        for part in stream.keys
        if part and len(part) >= 8
    }
    assert len(secrets) >= 2
    for as_json in (False, True):
        typed = shell_on(lost, as_json=as_json, width=None)
        shown = "".join(typed(line) for line in lines_for(lost)).lower()
        bare = shown.replace(" ", "").replace(":", "")
        for secret in secrets:
            assert secret.hex() not in bare
            assert secret[::-1].hex() not in bare
            assert secret[:8].hex() not in bare


def test_flow_that_has_lost_its_place(lost):
    typed = shell_on(lost)
    assert "TRACK" in typed("flows")
    shown = typed("resync")
    assert "ASKED" in shown
    assert f"{lost.handle:#x}" in shown
    assert "SEARCH → TRACK" in typed(f"flow {lost.handle:#x} history")
    assert "question" in typed(f"flow {lost.handle:#x}")


def test_commands_of_the_admin_ring_are_named(lost):
    assert "tls_flow_create_command" in shell_on(lost)("queue admin 0 --first 0 --count 8")


def test_write_goes_to_the_card(lost):
    typed = shell_on(lost)
    typed("write CONTROL.TX_ENABLE=0 --yes")
    assert not lost.nic.peek(0, r.CONTROL, 4) & r.CONTROL_TX_ENABLE_MASK
    assert lost.nic.peek(0, r.CONTROL, 4) & r.CONTROL_RX_ENABLE_MASK


def test_a_wrong_write_is_found_among_the_diagnostics(lost):
    typed = shell_on(lost)
    typed("write MAX_FRAME 20")
    assert "VALUE_RANGE" in typed("diagnostics")


def test_faults_and_impairments(lost):
    typed = shell_on(lost)
    assert "loss" in typed("impair rx loss=1% seed=3")
    assert "as they are" in typed("impair both off")
    assert "ON count=2" in typed("fault swallow_interrupts count=2")
    assert "a driver must" in typed("fault swallow_interrupts")
    assert "ON" not in typed("fault clear")


def test_card_without_pci_says_so():
    typed = shell_on(ReceiveRig())
    assert "no PCI configuration space" in typed("pci")
    assert typed.status == 1

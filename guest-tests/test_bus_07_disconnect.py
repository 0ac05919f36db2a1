"""BUS-07 and BUS-08: clients that vanish, and clients whose RAM is not shared.

A guest is its device's only client and cannot vanish and look at what comes of it, so the host
does, with a second device process; on the host it is the same.
"""

import pytest

ROW_7, ROW_8 = pytest.mark.row("BUS-07"), pytest.mark.row("BUS-08")
pytestmark = pytest.mark.deadline(60)


@ROW_7
def test_bus_07_disconnect_at_any_moment(peer, scale):
    rounds = scale(24, 4)
    report = peer.check("disconnects", seed=7, rounds=rounds)
    assert report["rounds"] == rounds
    assert len(report["points"]) >= 3, report


@ROW_7
def test_bus_07_client_killed_under_traffic(peer, scale):
    peer.check("killed_client", seed=8, rounds=scale(3, 1))


@ROW_7
def test_bus_07_keys_are_wiped(peer):
    peer.check("secrets", seed=9, hows=["disconnect"])


@ROW_8
def test_bus_08_ram_without_descriptor_is_refused_with_the_fix(peer):
    line = peer.check("unshared_ram")["line"]
    assert "memory-backend-memfd" in line
    assert "share=on" in line


@ROW_8
def test_bus_08_qemu_without_shared_ram_is_told_the_fix(peer):
    line = peer.check("unshared_qemu")["line"]
    assert "-object memory-backend-memfd" in line
    assert "share=on" in line

"""The interface without TLS: traffic with a stranger's stack, and every setting that ethtool has."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import netdev_family
from kernel_log import KernelLog
from near import (
    FAR_ADDRESS,
    FAR_ADDRESS6,
    ethtool,
    far_run,
    far_server,
    interface,
    load,
    run,
    statistics,
    unload,
    up,
    wait_for,
)

from tlsnic.abi import registers

_PORT = 5201
_NOBODY = FAR_ADDRESS.rpartition(".")[0] + ".77"
_FRAMES = 5


def ping(count: int = 3) -> None:
    """All answers come."""
    for address in (FAR_ADDRESS, FAR_ADDRESS6):
        said = run("ping", "-q", "-c", str(count), "-i", "0.1", "-W", "5", address)
        assert f"{count} received" in said, said


def iperf(*options: str) -> float:
    """Megabits per second of `iperf3` against a server at the far end, by default for a second."""
    ends = [] if "-n" in options else ["-t", "1"]
    words = ["iperf3", "--json", "-c", FAR_ADDRESS, "-p", str(_PORT), *ends, *options]
    end = json.loads(run(*words))["end"]
    return float(end.get("sum_received", end.get("sum"))["bits_per_second"]) / 1e6


def test_ping_over_both_protocols() -> None:
    ping()


def test_is_known_to_be_up() -> None:
    """Network managers wait for this; a carrier alone does not tell them."""
    state = Path(f"/sys/class/net/{interface()}/operstate")
    wait_for(lambda: state.read_text() == "up\n", "operational state up")


def test_names_the_driver_and_offers_its_offloads() -> None:
    assert "driver: tlsnic" in ethtool("-i")
    features = ethtool("-k")
    for name in (
        *("rx-checksumming", "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-tcp-segmentation"),
        *("tx-tcp6-segmentation", "rx-vlan-offload", "tx-vlan-offload", "receive-hashing"),
        *("rx-gro-hw", "tls-hw-tx-offload", "tls-hw-rx-offload", "highdma"),
    ):
        assert f"{name}: on" in features, name
    assert "Speed: 10000Mb/s" in run("ethtool", interface())


def ethtool_settings() -> dict[str, str]:
    """What `ethtool -g` and `-l` say is set now."""
    return {"rings": ethtool("-g").split("Current")[1], "queues": ethtool("-l").split("Current")[1]}


def test_iperf3_in_both_directions() -> None:
    with far_server("iperf3", "-s", "-p", str(_PORT), port=_PORT):
        before = statistics()
        assert iperf() > 20
        assert iperf("-R") > 20
        assert iperf("-P", "4") > 20
        now = statistics()
    assert now["tx_segmented"] > before["tx_segmented"]
    assert now["rx_coalesced"] > before["rx_coalesced"]


def test_udp() -> None:
    with far_server("iperf3", "-s", "-p", str(_PORT), port=_PORT):
        assert iperf("-u", "-b", "20M") > 10


def test_each_offload_can_be_switched_off_and_on() -> None:
    with far_server("iperf3", "-s", "-p", str(_PORT), port=_PORT):
        for name in ("rx", "tx", "tso", "gro", "rx-gro-hw", "sg", "rxhash"):
            ethtool("-K", name, "off")
            ping(1)
            assert iperf("-n", "4M") > 1, name
            assert iperf("-R", "-n", "4M") > 1, name
            ethtool("-K", name, "on")
    # Switching checksums off takes segmentation along; back on is asked for by name.
    ethtool("-K", "tso", "on", "tls-hw-tx-offload", "on", "tls-hw-rx-offload", "on")


def test_rings_and_queues_change_under_traffic() -> None:
    with far_server("iperf3", "-s", "-p", str(_PORT), port=_PORT):
        load = subprocess.Popen(
            ["iperf3", "-c", FAR_ADDRESS, "-p", str(_PORT), "-t", "4"], stdout=subprocess.PIPE
        )
        for words in (
            ("-G", "rx", "256", "tx", "256"),
            ("-L", "combined", "1"),
            ("-L", "combined", "2"),
            ("-G", "rx", "2048", "tx", "1024"),
        ):
            time.sleep(0.6)
            ethtool(*words)
        said = load.communicate(timeout=60)[0].decode()
        assert load.returncode == 0, said
    assert "2048" in ethtool_settings()["rings"]


def test_hash_and_moderation_settings() -> None:
    ethtool("-X", "equal", "1")
    assert " 1 " not in ethtool("-x").split("RSS hash key")[0].partition("\n")[2].replace(":", " ")
    ping(1)
    ethtool("-X", "default")
    ethtool("-N", "rx-flow-hash", "udp4", "sdfn")
    assert "L4 bytes 0" in ethtool("-n", "rx-flow-hash", "udp4")
    ethtool("-C", "rx-usecs", "40", "rx-frames", "16")
    assert "rx-usecs:\t40" in ethtool("-c")
    ping()
    ethtool("-C", "rx-usecs", "0", "rx-frames", "0")


def test_indirection_table_follows_the_channels() -> None:
    name = interface()
    run("ip", "link", "set", name, "down")
    for count in ("1", "2"):
        ethtool("-L", "combined", count)
        assert _receiving_queues() == set(range(int(count)))
    up()
    for count in ("1", "2"):
        ethtool("-L", "combined", count)
        assert _receiving_queues() == set(range(int(count)))
    ping(1)


def test_indirection_table_that_was_set_keeps_its_queues() -> None:
    name = interface()
    ethtool("-X", "equal", "2")
    for state in ("up", "down"):
        run("ip", "link", "set", name, state)
        assert "indirection table" in ethtool("-L", "combined", "1", check=False)
        assert "Combined:\t2" in ethtool_settings()["queues"]
        assert _receiving_queues() == {0, 1}
    ethtool("-X", "equal", "1")
    for count in ("1", "2"):
        ethtool("-L", "combined", count)
        assert _receiving_queues() == {0}
    up()
    assert _receiving_queues() == {0}
    ping(1)
    ethtool("-X", "default")
    assert _receiving_queues() == {0, 1}


def _receiving_queues() -> set[int]:
    """The queues in the indirection table: `ethtool -x` has the card's own."""
    said = ethtool("-x").split("RSS hash key")[0]
    table = [int(word) for row in re.findall(r"^ *\d+:(.*)$", said, re.M) for word in row.split()]
    size = 4 * registers.RSS_TABLE_COUNT
    assert list(_registers()[registers.RSS_TABLE :][:size]) == table
    return set(table)


def _registers() -> bytes:
    """BAR 0, as `ethtool -d` has it."""
    return subprocess.check_output(["ethtool", "-d", interface(), "raw", "on"])


def test_queues_are_known_by_napi_and_interrupt() -> None:
    name = interface()
    for count in (1, 2):
        ethtool("-L", "combined", str(count))
        found = netdev_family.queues(name)
        assert {(each.kind, each.number) for each in found} == {
            (kind, number) for kind in ("rx", "tx") for number in range(count)
        }
        assert len({each.napi for each in found}) == count
        for each in found:
            assert f"{name}-{each.number}" == _interrupt_name(each.irq)
    run("ip", "link", "set", name, "down")
    assert netdev_family.queues(name) == []
    up()
    assert len(netdev_family.queues(name)) == 4


def _interrupt_name(number: int | None) -> str:
    """Who asked for an interrupt."""
    lines = Path("/proc/interrupts").read_text().splitlines()
    (line,) = [line for line in lines if line.lstrip().startswith(f"{number}:")]
    return line.split()[-1]


def test_figures_of_queues() -> None:
    name = interface()
    ping()
    before = statistics()
    found = netdev_family.figures_by_queue(name)
    after = statistics()
    assert len(found) == 4
    for (kind, number), figures in found.items():
        for what in ("packets", "bytes"):
            limits = [now[f"{kind}{number}_{what}"] for now in (before, after)]
            assert limits[0] <= figures[f"{kind}_{what}"] <= limits[1]
    total = netdev_family.figures(name)
    # Those of a queue that is not there any more count.
    ethtool("-L", "combined", "1")
    later = netdev_family.figures(name)
    ethtool("-L", "combined", "2")
    for what in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"):
        assert total[what] >= sum(figures.get(what, 0) for figures in found.values()), what
        assert later[what] >= total[what], what
    assert not total["rx_alloc_fail"]


def test_figures_before_the_first_start() -> None:
    unload()
    load()
    name = interface()
    assert not any(netdev_family.figures(name).values())
    assert _receiving_queues() == {0, 1}
    assert len(list(Path(f"/sys/class/net/{name}/queues").glob("?x-*"))) == 4
    up()
    ping(1)


def test_register_dump_reads_nothing_it_must_not() -> None:
    before = statistics()["diagnostics"]
    assert "54 4c 53 4e" in ethtool("-d")  # MAGIC
    assert statistics()["diagnostics"] == before


def test_mtu() -> None:
    log = KernelLog()
    for mtu in ("9000", "1280", "1500"):
        run("ip", "link", "set", interface(), "mtu", mtu)
        ping(1)
    log.check()


def test_address_changes_while_up() -> None:
    path = Path(f"/sys/class/net/{interface()}/address")
    first = path.read_text().strip()
    for address in ("02:00:00:00:84:07", first):
        run("ip", "link", "set", interface(), "address", address)
        far_run("ip", "neighbour", "flush", "dev", "tap0")
        ping(1)


def test_further_addresses_are_filtered() -> None:
    wanted, other = "02:00:00:00:84:08", "02:00:00:00:84:09"
    run("bridge", "fdb", "add", wanted, "dev", interface(), "self")
    assert "promiscuity 0 " in run("ip", "-details", "link", "show", interface())
    passed = statistics()
    _frames_to(wanted)
    dropped = statistics()
    assert dropped["rx_frames"] - passed["rx_frames"] >= _FRAMES
    _frames_to(other)
    now = statistics()
    assert now["rx_drop_filter"] - dropped["rx_drop_filter"] >= _FRAMES
    run("bridge", "fdb", "delete", wanted, "dev", interface(), "self")
    _frames_to(wanted)
    assert statistics()["rx_drop_filter"] - now["rx_drop_filter"] >= _FRAMES


def test_vlan_filter_knows_the_vlans_from_before() -> None:
    ethtool("-K", "rx-vlan-filter", "off")
    run("ip", "link", "add", "link", interface(), "name", "vlan70", "type", "vlan", "id", "70")
    try:
        assert not _vlan_passes(70)
        ethtool("-K", "rx-vlan-filter", "on")
        assert _vlan_passes(70)
        ethtool("-K", "rx-vlan-filter", "off")
        assert not _vlan_passes(70)
        ethtool("-K", "rx-vlan-filter", "on")
    finally:
        run("ip", "link", "del", "vlan70")
    assert not _vlan_passes(70)


def _vlan_passes(number: int) -> bool:
    """The card's filter has this VLAN."""
    return bool(_registers()[registers.VLAN_FILTER + number // 8] >> number % 8 & 1)


def test_figures_of_the_interface_are_those_of_the_card() -> None:
    """Without anybody asking the card, and over a reset of it."""
    frames, before = 50, _multicast()
    # ping lets only root send to a group that often.
    far_run("bash", "-c", f"for n in {{1..{frames}}}; do echo >/dev/udp/ff02::1%tap0/9; done")
    wait_for(lambda: _multicast() >= before + frames, "multicast frames counted")
    counted = _multicast()
    ethtool("--reset", "dedicated")
    ping(1)
    assert counted <= _multicast() < counted + frames
    assert counted <= statistics()["rx_multicast"] < counted + frames


def _multicast() -> int:
    """What `ip` says of received frames."""
    (link,) = json.loads(run("ip", "-json", "-statistics", "link", "show", interface()))
    return int(link["stats64"]["rx"]["multicast"])


def _frames_to(address: str) -> None:
    """The far end sends frames to a MAC address, which nobody answers."""
    neighbour = ("neighbour", "replace", _NOBODY, "dev", "tap0", "lladdr", address)
    far_run("ip", *neighbour, "nud", "permanent")
    far_run("ping", "-c", str(_FRAMES), "-i", "0.01", "-W", "0.01", _NOBODY, check=False)
    far_run("ip", "neighbour", "del", _NOBODY, "dev", "tap0")


TESTS = [
    test_ping_over_both_protocols,
    test_is_known_to_be_up,
    test_names_the_driver_and_offers_its_offloads,
    test_iperf3_in_both_directions,
    test_udp,
    test_each_offload_can_be_switched_off_and_on,
    test_rings_and_queues_change_under_traffic,
    test_hash_and_moderation_settings,
    test_indirection_table_follows_the_channels,
    test_indirection_table_that_was_set_keeps_its_queues,
    test_queues_are_known_by_napi_and_interrupt,
    test_figures_of_queues,
    test_figures_before_the_first_start,
    test_register_dump_reads_nothing_it_must_not,
    test_mtu,
    test_address_changes_while_up,
    test_further_addresses_are_filtered,
    test_vlan_filter_knows_the_vlans_from_before,
    test_figures_of_the_interface_are_those_of_the_card,
]

"""Opening wires from text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.device.wire import (
    CaptureStage,
    Impairments,
    ImpairmentStage,
    NullWire,
    PairWire,
    PcapngWire,
    StreamWire,
    Wire,
    WireError,
    open_wire,
    open_wires,
)


def opened(spec: str) -> Wire:
    wire = open_wire(spec)
    wire.close()
    return wire


def test_each_kind_opens_its_wire(tmp_path: Path) -> None:
    capture = tmp_path / "c.pcapng"
    assert isinstance(opened("null"), NullWire)
    assert isinstance(opened(f"null+capture:{capture}"), CaptureStage)
    assert isinstance(opened(f"pcapng:{capture}"), PcapngWire)
    for spec in (
        f"unix:{tmp_path}/s",
        f"unix-listen:{tmp_path}/s",
        "tcp-listen:0",
        "tcp-listen:127.0.0.1:0",
    ):
        wire = opened(spec)
        assert isinstance(wire, StreamWire)
        assert wire.name == spec


def test_pcapng_options(tmp_path: Path) -> None:
    source, out = tmp_path / "a,b.pcapng", tmp_path / "out.pcapng"
    opened(f"null+capture:{str(source).replace(',', ',,')}")
    assert source.exists()
    name = str(source).replace(",", ",,")
    opened(f"pcapng:{name},out={out},pace=fast,play=all")
    assert out.exists()


def test_stages_wrap_in_the_order_written(tmp_path: Path) -> None:
    path = tmp_path / "x+y.pcapng"
    wire = opened(f"null+impair:loss=1%+capture:{path}")
    assert isinstance(wire, CaptureStage)
    assert isinstance(wire.inner, ImpairmentStage)
    assert isinstance(wire.inner.inner, NullWire)
    assert wire.name == f"null+impair+capture:{path}"


def test_impair_keys_units_and_directions() -> None:
    wire = opened(
        "null+impair:rx.loss=0.25,loss=1%,corrupt=50%,duplicate=0.5,reorder=1,reorder-gap=2,"
        "hold=3us,tx.delay=1.5ms,jitter=20ns,rate=100mbit,queue=7,rx.drop=0/5,seed=9"
    )
    assert isinstance(wire, ImpairmentStage)
    assert wire.tx == Impairments(
        loss=0.01,
        corrupt=0.5,
        duplicate=0.5,
        reorder=1.0,
        reorder_gap=2,
        hold_ns=3000,
        delay_ns=1_500_000,
        jitter_ns=20,
        rate_bit_per_s=100_000_000,
        queue_frames=7,
    )
    assert wire.rx.loss == 0.25
    assert wire.rx.delay_ns == 0
    assert wire.rx.drop == {0, 5}


def test_seed_of_the_text_chooses_the_losses() -> None:
    def survivors(seed: int) -> list[int]:
        wire = open_wire(f"null+impair:loss=50%,seed={seed}")
        counts = []
        with wire:
            for _ in range(64):
                wire.send((bytes(60),), None, 0)
                counts.append(wire.counters.tx_frames)
        return counts

    assert survivors(1) == survivors(1)
    assert survivors(1) != survivors(2)


def test_pair_joins_the_two_ports_that_name_it() -> None:
    one, other, two = open_wires(["pair:a", "null", "pair:a+impair:delay=1ms"])
    assert isinstance(one, PairWire)
    assert isinstance(other, NullWire)
    assert one.send((b"hello",), None, 0)
    got: list[bytes] = []
    two.receive(lambda view, _: got.append(bytes(view)), 1, 0)
    two.receive(lambda view, _: got.append(bytes(view)), 1, 10**6)
    assert got == [b"hello"]
    for wire in (one, other, two):
        wire.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "unknown wire"),
        ("ethernet", "unknown wire"),
        ("tap", "needs an argument"),
        ("tap:", "needs an argument"),
        ("tap:" + "x" * 16, "not a name of an interface"),
        ("tap:a,colour=red", "unknown option 'colour=red'"),
        ("tap:a,offload=perhaps", "offload=perhaps is unknown"),
        ("tap:a,netns=no-such-namespace-here", "no network namespace"),
        ("unix:", "needs an argument"),
        ("unix:/a,b", "unknown option 'b'"),
        ("tcp:nowhere", "not HOST:PORT"),
        ("null:x", "takes no argument"),
        ("pair:lonely", "1 name it"),
        ("pcapng:/no/such/file", "cannot read capture"),
        ("pcapng:/x,pace=slow", "pace=slow is unknown"),
        ("pcapng:/x,play=all,play=all", "given twice"),
        ("null+impair:", "unknown option ''"),
        ("null+impair:loss", "unknown option 'loss'"),
        ("null+impair:loss=2", "not a probability"),
        ("null+impair:loss=x", "not a probability"),
        ("null+impair:delay=5", "delay=5 is not understood"),
        ("null+impair:rate=5mbps", "rate=5mbps is not understood"),
        ("null+impair:queue=0", "queue_frames is at least 1"),
        ("null+impair:drop=1-3", "drop=1-3 is not a number"),
        ("null+impair:seed=-1", "seed=-1 is not a number"),
        ("null+capture:", "needs a file"),
        ("null+capture:/no/such/dir/x", "cannot write capture"),
        ("null+delay:5ms", "unknown wire"),
    ],
)
def test_wrong_text_is_one_clear_line_with_a_fix(spec: str, message: str) -> None:
    with pytest.raises(WireError, match=message) as caught:
        open_wire(spec)
    assert "\n" not in str(caught.value)


def test_nothing_stays_open_when_a_later_wire_fails(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WireError):
        open_wires([f"unix-listen:{path}", "null+capture:/no/such/dir/x"])
    assert not path.exists()
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.text(alphabet="tapunixcnull:+,=.%impairloss019", max_size=30))
def test_any_text_opens_or_raises_wire_error(text: str) -> None:
    # Only kinds without side effects outside this process.
    try:
        wire = open_wire(f"null+impair:{text}")
    except WireError:
        return
    wire.close()

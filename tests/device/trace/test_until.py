"""Where a replay stops."""

import pytest
from trace_rig import cards, receive_rig, traced_rigs

from tlsnic.device.trace.replay import Replay
from tlsnic.device.trace.until import parse_until


@pytest.fixture(scope="module")
def sink():
    with traced_rigs():
        rig, wire, handle = receive_rig.begun(*[700] * 12)
        rig.feed(wire, 0, 1000)
        rig.run(after_ns=2_000_000_000)
        rig.take(wire, 2000, 3000)
        rig.answer(rig.question(), wire, record_number=99)
        for at in range(3000, len(wire), 1000):
            rig.receive(receive_rig.frame_of(wire, at, min(at + 1000, len(wire))))
        rig.nic.tracer.mark("here")
        rig.destroy(handle)
        sink = cards[0].sink
        cards.clear()
    return sink


def stop(sink, text):
    again = Replay(sink)
    assert again.run(parse_until(text))
    (card,) = again.cards.values()
    return again.progress, card.nic.counters


def test_an_event_of_the_driver_s(sink):
    _, counters = stop(sink, "RESYNC_REQUEST")
    assert (counters.rx_tls_resync_req_start, counters.rx_tls_resync_req_end) == (1, 0)
    assert stop(sink, "resync_request")[0] == stop(sink, "ASKED")[0]


def test_a_diagnostic_and_what_goes_with_it(sink):
    progress, counters = stop(sink, "TLS_AUTH")
    assert counters.rx_tls_err == 1
    assert stop(sink, "HALTED")[0] == stop(sink, "FLOW_ERROR")[0] == progress


def test_an_input_and_what_happens_to_a_flow(sink):
    mark, counters = stop(sink, "MARK")
    assert counters.rx_tls_del == 0
    destroyed, counters = stop(sink, "DESTROYED")
    assert counters.rx_tls_del == 1
    assert destroyed.number > mark.number


def test_a_time_and_a_number(sink):
    for text in ("1.5s", "1.5", "1500ms", "1500000us"):
        progress, _ = stop(sink, text)
        assert progress.now_ns == 2_001_000_000
    progress, _ = stop(sink, "#77")
    assert 77 <= progress.number < 100


def test_what_never_comes(sink):
    assert not Replay(sink).run(parse_until("LINK_CHANGE"))


@pytest.mark.parametrize("text", ["TLS_AUHT", "#", "#1x", "5 minutes", "", "-"])
def test_what_is_no_place(text):
    with pytest.raises(ValueError, match="is none of: NAME of an event"):
        parse_until(text)


def test_a_name_that_is_nearly_right():
    with pytest.raises(ValueError, match="perhaps TLS_AUTH"):
        parse_until("TLS_AUHT")

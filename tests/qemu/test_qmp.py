"""The monitor's connection, against a scripted far end."""

import asyncio
import json
import socket

import pytest
from qemu.qmp import QMPError

from tlsnic.qemu.errors import VmDiedError
from tlsnic.qemu.qmp import REFUSED, Monitor, RefusedError

GREETING = {"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 3}}, "capabilities": []}}
STAMP = {"seconds": 1, "microseconds": 0}


def converse(script, answers):
    """Run `script(monitor)` against a monitor that gives `answers[command]`, one message each."""

    async def serve(sock):
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(json.dumps(GREETING).encode() + b"\r\n")
        decoder, text = json.JSONDecoder(), ""
        while data := await reader.read(4096):
            text += data.decode()
            while text:
                try:
                    message, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                for answer in answers.get(message["execute"], [{"return": {}}]):
                    extra = {} if "event" in answer else {"id": message.get("id")}
                    writer.write(json.dumps({**answer, **extra}).encode() + b"\r\n")
        writer.close()

    async def main():
        ours, theirs = socket.socketpair()
        server = asyncio.ensure_future(serve(theirs))
        try:
            async with Monitor(ours) as monitor:
                await monitor.connect()
                return await script(monitor)
        finally:
            await asyncio.wait_for(server, 5)

    return asyncio.run(main())


@pytest.mark.parametrize("running", [True, False])
def test_tells_whether_the_guest_runs(running):
    answers = {"query-status": [{"return": {"status": "x", "running": running}}]}
    assert converse(lambda monitor: monitor.running(), answers) is running


def test_events_are_kept_and_can_be_awaited():
    shutdown = {
        "event": "SHUTDOWN",
        "data": {"guest": True, "reason": "guest-reset"},
        "timestamp": STAMP,
    }
    other = {"event": "NIC_RX_FILTER_CHANGED", "data": {}, "timestamp": STAMP}

    async def script(monitor):
        await monitor.power_down()
        data = await monitor.wait_event("SHUTDOWN", 5)
        return data["reason"], monitor.events, monitor.shutdown_reason()

    answers = {"system_powerdown": [other, shutdown, {"return": {}}]}
    reason, events, shutdown_reason = converse(script, answers)
    assert reason == shutdown_reason == "guest-reset"
    assert [name for name, _ in events] == ["SHUTDOWN"]


def test_an_event_that_does_not_come_ends_at_the_deadline():
    with pytest.raises(TimeoutError):
        converse(lambda monitor: monitor.wait_event("SHUTDOWN", 0.05), {})


@pytest.mark.parametrize("command", sorted(REFUSED))
def test_what_qemu_does_not_survive_is_refused_before_it_is_sent(command):
    with pytest.raises(RefusedError, match="vfio-user-pci"):
        converse(lambda monitor: monitor.execute(command), {command: []})


def test_an_error_of_qemu_is_raised_with_its_words():
    answers = {"stop": [{"error": {"class": "GenericError", "desc": "not now"}}]}
    with pytest.raises(QMPError, match="not now"):
        converse(lambda monitor: monitor.execute("stop"), answers)


def test_quit_needs_no_answer():
    assert converse(lambda monitor: monitor.quit(), {}) is None


def test_a_far_end_that_hangs_up_before_the_greeting_has_died():
    async def main():
        ours, theirs = socket.socketpair()
        theirs.close()
        async with Monitor(ours) as monitor:
            await monitor.connect()

    with pytest.raises(VmDiedError):
        asyncio.run(main())


def test_closing_without_connecting_leaves_no_socket():
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            await Monitor(ours).close()
            return theirs.recv(1)

    assert asyncio.run(main()) == b""

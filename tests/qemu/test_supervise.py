"""Children end with their parent, in order when there is time and at once when there is not."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from tlsnic.qemu.errors import Interrupted, UserError
from tlsnic.qemu.supervise import Child, describe_status, run_async

IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 1; done"

RUNNER = """
import asyncio, sys
from tlsnic.qemu.errors import Interrupted
from tlsnic.qemu.supervise import Child, run_async

async def main():
    child = Child(["sh", "-c", sys.argv[1]], name="sleeper", stdout=sys.stdout.buffer)
    print(child.pid, flush=True)
    try:
        await child.ended()
    finally:
        await child.finish(grace_s=float(sys.argv[2]))
        print("cleaned", flush=True)

try:
    run_async(main())
except Interrupted:
    sys.exit(130)
"""


def gone(pid: int, timeout_s: float = 60.0) -> bool:
    """Whether process `pid`, which may be nobody's child, ends within the time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], timeout_s)[0])
    finally:
        os.close(pidfd)


@pytest.fixture
def runner():
    """Starts a runner whose child runs the shell text; gives the process and the child's pid."""
    started = []

    def start(script, grace_s=5.0):
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, script, str(grace_s)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        lines = {process.stdout.readline().strip(), process.stdout.readline().strip()}
        lines.discard("ready")
        return process, int(lines.pop())

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_runner_takes_its_child_with_it(runner):
    process, child = runner(IGNORES_TERM)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert gone(child)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_the_child_in_order(runner, number):
    process, child = runner("echo ready; while :; do sleep 1; done")
    process.send_signal(number)
    assert process.wait(60) == 130
    assert process.stdout.read() == "cleaned\n"
    assert gone(child, 0)


def test_the_second_signal_kills_a_child_that_does_not_listen(runner):
    process, child = runner("trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done", 60.0)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "no\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stdout.read() == "cleaned\n"
    assert gone(child, 0)


def test_a_signal_ends_in_interrupted_even_when_the_work_just_finished():
    async def main():
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        run_async(main())


def test_the_second_signal_reaches_a_clean_up_that_awaits(tmp_path):
    async def main():
        child = Child(["sh", "-c", IGNORES_TERM], name="stubborn", stdout=subprocess.DEVNULL)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            assert await child.ended() == -signal.SIGKILL

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        run_async(main())
    assert signal.getsignal(signal.SIGINT) is before


def test_stop_kills_after_the_grace_and_reaches_the_whole_group(tmp_path):
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd) as pids:
        script = "trap '' TERM; sleep 600 & echo $!; wait; wait"
        child = Child(["sh", "-c", script], name="family", stdout=write_fd)
        os.close(write_fd)
        grandchild = int(pids.readline())
        assert child.stop(grace_s=0.05) == -signal.SIGKILL
    assert gone(grandchild)
    assert child.stop() == -signal.SIGKILL


def test_a_child_that_listens_gets_its_grace():
    script = "trap 'exit 7' TERM; echo; while :; do sleep 0.01; done"
    child = Child(["sh", "-c", script], name="kind", stdout=subprocess.PIPE)
    child._process.stdout.readline()
    assert child.stop(grace_s=10) == 7
    child._process.stdout.close()


def test_ended_reports_the_status_without_blocking_the_loop():
    async def main():
        with Child(["sh", "-c", "read line; exit 3"], name="waits", stdin=subprocess.PIPE) as child:
            ended = asyncio.ensure_future(child.ended())
            await asyncio.sleep(0)
            assert not ended.done()
            child._process.stdin.close()
            return await asyncio.wait_for(ended, 5)

    assert asyncio.run(main()) == 3


def test_a_missing_program_is_one_clear_line():
    with pytest.raises(UserError, match="no program qemu-system-none"):
        Child(["qemu-system-none"], name="QEMU")


def test_run_async_works_outside_the_main_thread():
    results = []

    async def main():
        return 5

    thread = threading.Thread(target=lambda: results.append(run_async(main())))
    thread.start()
    thread.join(60)
    assert results == [5]


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit status 0"), (-9, "killed by SIGKILL"), (-200, "killed by signal 200")],
)
def test_statuses_in_words(status, text):
    assert describe_status(status) == text

"""Running programs for the parts, stopping them all, and what is shown meanwhile."""

import re
import shutil
import threading
from io import StringIO
from pathlib import Path

import pytest

from tlsnic.qemu import parts
from tlsnic.qemu.parts import PartError, _errors, _run
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._run import CommandError, StoppedError, run

_ENDLESS = ["sh", "-c", "echo up; exec sleep 1000"]


def test_output_of_both_streams_is_returned_and_seen_by_line() -> None:
    lines: list[str] = []
    out = run(["sh", "-c", "echo a; echo b >&2"], on_line=lines.append)
    assert out == "a\nb\n"
    assert lines == ["a\n", "b\n"]


def test_failure_carries_status_and_output() -> None:
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo why; exit 7"])
    assert (caught.value.status, caught.value.output) == (7, "why\n")


def test_exception_in_the_watcher_ends_the_program() -> None:
    def refuse(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(_ENDLESS, on_line=refuse)


def test_unbroken_program_is_let_finish_when_interrupted(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        (tmp_path / "go").touch()
        raise KeyboardInterrupt

    script = f"echo up; while ! [ -e go ]; do :; done; echo more; echo done > {tmp_path}/done"
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", script], cwd=tmp_path, on_line=refuse, unbroken=True)
    assert (tmp_path / "done").read_text() == "done\n"


def test_stop_all_ends_programs_of_other_threads_and_starts_none() -> None:
    up = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run(_ENDLESS, on_line=lambda line: up.set())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert up.wait(60)
        _run.stop_all()
        thread.join(60)
        assert [type(error) for error in errors] == [StoppedError]
        with pytest.raises(StoppedError):
            run(["true"])
    finally:
        _run.resume()
    assert run(["echo", "again"]) == "again\n"


def test_one_part_that_fails_stops_the_others_and_is_the_one_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    up = threading.Event()

    def endless(console: Console) -> None:
        run(_ENDLESS, on_line=lambda line: up.set())

    def fails(console: Console) -> None:
        assert up.wait(60)
        raise PartError("no such mirror", "try another")

    monkeypatch.setattr(parts, "guest", endless)
    monkeypatch.setattr(parts, "qemu", fails)
    monkeypatch.setattr(parts, "libvfio_user_path", lambda console: Path("/lib"))
    monkeypatch.setattr(parts, "prepare_host", lambda console: None)
    with pytest.raises(PartError, match="no such mirror"):
        parts.all_parts(Console(StringIO()))
    assert run(["echo", "usable"]) == "usable\n"


@pytest.mark.parametrize(
    ("program", "output", "message", "fix"),
    [
        ("apt-get", "E: Failed to fetch x  Could not resolve 'y'", "download failed", "network"),
        ("apt-get", "E: Failed to fetch x  Hash Sum mismatch", "checksum", "same again"),
        (
            "apt-get",
            "W: GPG error: x InRelease: NO_PUBKEY 1",
            "signature",
            "debian-archive-keyring",
        ),
        ("apt-get", "E: You don't have enough free space in /c/", "disk full", "XDG_CACHE_HOME"),
        ("tar", "tar: x: Cannot write: No space left on device", "disk full", "XDG_CACHE_HOME"),
        ("ninja", "a.c:1:1: error: connection reset by peer", "ninja failed", "log"),
    ],
)
def test_failed_programs_are_explained(
    tmp_path: Path, program: str, output: str, message: str, fix: str
) -> None:
    found = _errors.explain(CommandError([program], 1, output), "part", tmp_path)
    assert message in found.message
    assert fix in found.fix


def test_failed_copy_of_a_tree_is_one_line(tmp_path: Path) -> None:
    copies = [("a", "b", "[Errno 5] Input/output error: 'b'"), ("c", "d", "e")]
    found = _errors.explain(shutil.Error(copies), "part", tmp_path)
    assert found.message == "part: [Errno 5] Input/output error: 'b'"
    full = shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])
    assert "disk full" in _errors.explain(full, "part", tmp_path).message


def test_any_failure_on_a_disk_without_room_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(_errors.shutil, "disk_usage", lambda path: usage)
    found = _errors.explain(CommandError(["apt-get"], -15, "E: no sign of life"), "part", tmp_path)
    assert "disk full" in found.message


def test_telling_line_is_the_first_error_else_the_last_line() -> None:
    assert CommandError(["x"], 1, "a\nE: b\nc\n").telling_line() == "E: b"
    assert CommandError(["x"], 1, "a\nc\n\n").telling_line() == "c"
    assert CommandError(["x"], 1, "").telling_line() == "no output"


def test_step_is_one_plain_line_away_from_a_terminal() -> None:
    stream = StringIO()
    console = Console(stream)
    with console.step("qemu", "packages") as step:
        step.fraction = 0.5
        step.detail = "30 MB"
    with pytest.raises(PartError), console.step("qemu", "unpacking"):
        raise PartError("x", "y")
    with pytest.raises(KeyboardInterrupt), console.step("qemu", "trying"):
        raise KeyboardInterrupt
    first, second, third = stream.getvalue().splitlines()
    assert re.fullmatch(r"qemu: packages \(30 MB\), \d+\.\d s", first)
    assert re.fullmatch(r"qemu: unpacking, failed after \d+\.\d s", second)
    assert re.fullmatch(r"qemu: trying, stopped after \d+\.\d s", third)


def test_long_step_is_mentioned_again_away_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlsnic.qemu.parts._console._STILL_S", 0.0)
    monkeypatch.setattr("tlsnic.qemu.parts._console._REDRAW_S", 0.001)
    told = threading.Event()

    class Watched(StringIO):
        def write(self, text: str) -> int:
            if "so far" in text:
                told.set()
            return super().write(text)

    stream = Watched()
    with Console(stream).step("guest", "packages") as step:
        step.fraction = 0.25
        assert told.wait(60)
    assert re.match(r"guest: packages 25% \d+ s so far\n", stream.getvalue())


def test_terminal_shows_the_steps_under_way_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    console = Console(stream)
    with console.step("guest", "packages"), console.step("qemu", "unpacking"):
        console.note("host", "hello")
    text = stream.getvalue()
    assert "\r\x1b[Khost: hello\n" in text
    assert re.search(r"\r\x1b\[Kguest: packages 0 s · qemu: unpacking 0 s", text)
    assert text.endswith(" s\n")

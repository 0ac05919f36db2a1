"""Looks into a card with the shell while it receives TLS on a wire that loses frames.

    .venv/bin/python examples/shell.py             # as root, or by tlsnic.qemu.rights
    .venv/bin/python examples/shell.py --docs docs --size 2500

Starts examples/receive.py, a terminal of its own, and types every command of the shell into it; before
that, a script has run the same. Prints what a person would have seen; with --docs it is also recorded
into shell.cast and shell.md, at the pace of people, so that the transfer has to be longer. Exit status 0
when each command was answered.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tlsnic.device.shell.backend import SOCKET_SUFFIX, SocketBackend
from tlsnic.device.shell.cast import Terminal, plain
from tlsnic.device.shell.errors import ShellError
from tlsnic.device.shell.reference import replaced
from tlsnic.device.shell.table import COMMANDS

HERE = Path(__file__).parent
PROMPT = r"(^|\n)tlsnic>\s*$"
SYSTEM_PROMPT = r"(^|\n)\$\s*$"
TIMEOUT_S = 60.0
BEGIN, END = "<!-- shown: made by examples/shell.py -->", "<!-- end of shown -->"
TITLE = "tlsnic shell, while a card receives TLS with lost frames"


class Step(NamedTuple):
    """One line to type. `{handle}` is that of the flow."""

    line: str
    say: str = ""
    """What it is about, for the document."""
    keep: int = 12
    """So many lines of the answer are shown in the document."""
    answers: tuple[tuple[str, str], ...] = ()
    """What to wait for, and what to press then, before the prompt comes again."""


STEPS = (
    Step("help", "What there is.", 6),
    Step("help flow", keep=14),
    Step("info", "The card, and what is switched on.", 20),
    Step("cards"),
    Step("use 0"),
    Step("pci", "The PCI function, in the words of lspci.", 12),
    Step("registers device-control", "Registers: a group, one with its fields, by pattern.", 10),
    Step("registers STATUS OFFLOAD_ENABLE"),
    Step("registers 'RX_QUEUE_*[0]'"),
    Step("read STATUS.RESET_COUNT"),
    Step(
        "write CONTROL.TX_ENABLE=1",
        "A write to a register that does more than keep a value is asked for first.",
        answers=((r"\[y/N\]\s*$", "y\r"),),
    ),
    Step("snapshot before", "What changes in a second or so?"),
    Step("counters --interval 500ms rx_tls"),
    Step("diff before", keep=14),
    Step("queues", "Queues: who waits for whom, and what is in the rings."),
    Step("queue rx 0 --count 6", keep=24),
    Step("queue event", keep=14),
    Step("interrupts"),
    Step("dma"),
    Step("flows", "The flow: where it is, and what happened to it."),
    Step("flow {handle}", keep=30),
    Step("flow {handle} history", keep=10),
    Step("resync", keep=14),
    Step("diagnostics"),
    Step("trace --count 12", "Everything that passes the card's boundary, by names.", 14),
    Step("trace tls --flow {handle} --count 6", keep=8),
    Step("capture start run.pcapng", "The same into a file for Wireshark."),
    Step("mark here it begins"),
    Step("capture"),
    Step("capture stop"),
    Step("impair", "Making it worse on purpose.", 20),
    Step("impair rx loss=5% seed=7", keep=4),
    Step("fault", keep=10),
    Step("fault drop_frames count=2", keep=8),
    Step("fault clear", keep=4),
    Step(
        "watch --count 3 --interval 500ms counters rx_tls_resync",
        "Again and again, changes marked.",
    ),
    Step("history --count 3"),
    Step("reconnect"),
    Step("reset", "Last of all.", answers=((r"\[y/N\]\s*$", "y\r"),)),
    Step("quit", keep=60),
)


@contextlib.contextmanager
def load(folder: Path, size: float, loss: float) -> Iterator[tuple[Path, int]]:
    """receive.py at work: folder of its card's socket, and handle of its flow."""
    argv = [sys.executable, str(HERE / "receive.py"), "--versions", "1.3"]
    argv += ["--size", str(size), "--loss", str(loss)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (folder / "receive.log").open("w") as log:
        child = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        try:
            yield _wait_for_flow(folder, child)
        finally:
            child.terminate()
            child.wait()


def _wait_for_flow(folder: Path, child: "subprocess.Popen[bytes]") -> tuple[Path, int]:
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s and child.poll() is None:
        for path in folder.glob(f"**/*{SOCKET_SUFFIX}"):
            with contextlib.suppress(ShellError), contextlib.closing(SocketBackend(path)) as card:
                flows = card.call("flows.list", {"card": 0})["flows"]
                if flows and flows[0]["packets"] > 1000:
                    return path.parent, flows[0]["handle"]
        time.sleep(0.1)
    raise SystemExit(f"receive.py did not start:\n{(folder / 'receive.log').read_text()}")


def last_picture(raw: str) -> str:
    """What is left on the screen of something that was drawn several times at the same place."""
    return plain(re.split(r"\x1b\[2K|\x1b\[H", raw)[-1])


def run(terminal: Terminal, step: Step, key_s: float) -> str:
    """Type one line; returns the answer."""
    terminal.press(step.line)
    terminal.rest(10 * key_s or 0.05)
    keys = "\r"
    for pattern, following in step.answers:
        terminal.press(keys)
        terminal.wait_for(pattern, TIMEOUT_S)
        terminal.rest(0.3 if key_s else 0.05)
        keys = following
    terminal.press(keys)
    last = SYSTEM_PROMPT if step.line == "quit" else PROMPT
    text = terminal.wait_for(last, TIMEOUT_S)
    if "\x1b[2K" in terminal.raw:
        text = last_picture(terminal.raw)
    terminal.rest(25 * key_s)
    text = re.sub(last, "", text).strip("\n")
    # The line that was typed is drawn once more, when Enter is pressed.
    # What is pressed at a question is echoed before the question is drawn again.
    text = re.sub(r"^y(?=.*\[y/N\])", "", text)
    lines = [shown.rstrip() for shown in text.split("\n")]
    return "\n".join(lines[lines[0] in (step.line, f"tlsnic> {step.line}") :])


def go_through(
    folder: Path, state: Path, handle: int, key_s: float
) -> tuple[Terminal, list[tuple[Step, str]]]:
    """All steps in the shell, then the live view and a script, at one terminal."""
    environment = {
        "PS1": "$ ",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(state),
    }
    argv = ["bash", "--norc", "--noprofile"]
    terminal = Terminal(argv, environment=environment, key_s=key_s, folder=folder, rows=40)
    answers = []
    try:
        terminal.wait_for(SYSTEM_PROMPT)
        terminal.press("tlsnic shell --socket device.sock\r")
        terminal.wait_for(PROMPT, TIMEOUT_S)
        for step in STEPS:
            if step.line == "reset":
                answers += _outside(folder, key_s, environment, argv)
            step = step._replace(line=step.line.format(handle=f"{handle:#x}"))
            answers.append((step, run(terminal, step, key_s)))
        terminal.press("exit\r")
        terminal.wait()
    except BaseException:
        terminal.close()
        raise
    return terminal, answers


def _outside(
    folder: Path, key_s: float, environment: dict[str, str], argv: list[str]
) -> list[tuple[Step, str]]:
    """A script and the live view, in a second terminal: any number may look at a card."""
    script = Step(
        "tlsnic shell --socket device.sock --json -c 'registers STATUS' -c flows", "From a script."
    )
    live = Step("tlsnic top --socket device.sock", "All at a glance, live.", 30)
    answers = []
    with Terminal(argv, environment=environment, key_s=key_s, folder=folder, rows=30) as terminal:
        terminal.wait_for(SYSTEM_PROMPT)
        terminal.press(script.line + "\r")
        text = terminal.wait_for(SYSTEM_PROMPT, TIMEOUT_S)
        answers.append((script, re.sub(SYSTEM_PROMPT, "", text).partition("\n")[2]))
        terminal.press(live.line + "\r")
        terminal.wait_for("diagnostics", TIMEOUT_S)
        terminal.rest(3.5 if key_s else 1.5)
        answers.append((live, last_picture(terminal.raw).strip("\n")))
        terminal.press("q")
        terminal.wait_for(SYSTEM_PROMPT, TIMEOUT_S)
        terminal.press("exit\r")
        terminal.wait()
    return answers


def for_programs(folder: Path, handle: int) -> list[str]:
    """The same lines by a script with --json; those that fail."""
    failed = []
    argv = [sys.executable, "-m", "tlsnic.qemu.cli", "shell", "--socket", "device.sock", "--json"]
    for step in STEPS:
        if step.line not in ("quit", "reset"):  # the one has no answer, the other ends the load
            argv += ["-c", step.line.format(handle=f"{handle:#x}")]
    argv += ["-c", "impair both loss=1% reorder=1%", "--yes"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        document = json.loads(line)
        if not document["ok"]:
            failed.append(f"{document['command']}: {document['error']['message']}")
    if done.returncode and not failed:
        failed.append(done.stderr)
    return failed


def excerpt(answers: list[tuple[Step, str]]) -> str:
    """The answers as Markdown, long ones cut."""
    lines = []
    for step, answer in answers:
        if step.say:
            lines += ["", step.say]
        shown = [
            line[:160] + ("…" if len(line) > 160 else "") for line in answer.rstrip().split("\n")
        ]
        if len(shown) > step.keep:
            shown = [*shown[: step.keep], "…"]
        prompt = "$" if step.line.startswith("tlsnic ") else "tlsnic>"
        lines += ["", f"    {prompt} {step.line}", *(f"    {line}".rstrip() for line in shown)]
    return "\n".join([*lines, ""])


def main() -> int:
    """Run it all; exit status 1 when a command was not answered."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--docs", type=Path, metavar="FOLDER", help="write shell.cast, shell.md here"
    )
    parser.add_argument("--size", type=float, default=1000, help="megabytes received (%(default)s)")
    parser.add_argument("--loss", type=float, default=1, help="per cent of frames (%(default)s)")
    options = parser.parse_args()
    missing = set(COMMANDS) - {step.line.split()[0] for step in STEPS}
    assert not missing, f"nobody types {missing}"
    with tempfile.TemporaryDirectory() as folder:
        with load(Path(folder), options.size, options.loss) as (place, handle):
            failed = for_programs(place, handle)
            terminal, answers = go_through(
                place, Path(folder), handle, 0.03 if options.docs else 0.0
            )
        terminal.close()
    text = excerpt(answers)
    print(text)
    if options.docs:
        terminal.save(options.docs / "shell.cast", TITLE)
        document = options.docs / "shell.md"
        document.write_text(replaced(document.read_text(), BEGIN, END, text))
    failed += [step.line for step, answer in answers if answer.startswith("error:")]
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""A stand-in for QEMU and its guest: `fake_qemu.py MODE <QEMU's options>`.

It takes over the descriptors that the command line names, speaks enough QMP, and plays a guest
that does as MODE says.
"""

import json
import os
import re
import signal
import socket
import sys
import threading
import time

mode, options = sys.argv[1], sys.argv[2:]
fds = {name: int(fd) for name, fd in re.findall(r"socket,id=([\w.]+),fd=(\d+)", "\n".join(options))}
chardevs = {name: socket.socket(fileno=fd) for name, fd in fds.items()}
console = re.search(r"file,id=log,path=(\S+)", "\n".join(options))[1]
monitor = chardevs["monitor"]
negotiated = threading.Event()


def say(port: str, text: bytes) -> None:
    chardevs[port].sendall(text)


def event(name: str, **data: object) -> None:
    message = {"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 0}}
    monitor.sendall(json.dumps(message).encode() + b"\n")


def commands():
    """The client's commands: JSON texts one after the other, without any line ends."""
    text = ""
    while data := monitor.recv(65536):
        text += data.decode()
        while text:
            try:
                message, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            text = text[end:].lstrip()
            yield message


def serve_monitor() -> None:
    version = {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": ""}
    monitor.sendall(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\n")
    for message in commands():
        reply = {"return": {}, "id": message.get("id")}
        if message["execute"] == "query-status":
            reply["return"] = {"status": "running", "running": True}
        if message["execute"] == "quit" and mode == "stubborn":
            continue
        monitor.sendall(json.dumps(reply).encode() + b"\n")
        if message["execute"] == "qmp_capabilities":
            negotiated.set()
        if message["execute"] == "quit":
            os._exit(0)


if mode == "refuses":
    print("fake-qemu: -device vfio-user-pci: no such thing", file=sys.stderr)
    sys.exit(1)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = threading.Thread(target=serve_monitor, daemon=True)
server.start()
with open(console, "w") as log:
    print("\x1b[0mLinux booting", file=log)

if mode == "hangs-up":
    os._exit(1)
negotiated.wait()
if mode in ("sleeps", "stubborn"):
    if "tlsnic.status" in chardevs:
        say("tlsnic.status", b"started\n")
        say("tlsnic.output", b"sleeping\n")
    time.sleep(600)
elif mode == "never-boots":
    time.sleep(600)
elif mode.startswith("exits-"):
    say("tlsnic.status", b"star")
    say("tlsnic.status", b"ted\n")
    say("tlsnic.output", b"all is \xff well\n")
    call = {"jsonrpc": "2.0", "id": 1, "method": "peer.double", "params": {"n": 21}}
    say("tlsnic.control", b"noise\x1e" + json.dumps(call).encode() + b"\n")
    reply = chardevs["tlsnic.control"].recv(4096)
    report = {"id": "BUS-01", "outcome": "passed", "duration_s": 0.25, "text": reply.decode()}
    notice = {"jsonrpc": "2.0", "method": "tlsnic.result", "params": report}
    say("tlsnic.control", b"\x1e" + json.dumps(notice).encode() + b"\n")
    say("tlsnic.status", b"exit %d\n" % int(mode.removeprefix("exits-")))
    say("tlsnic.output", b"the end\n")
    event("SHUTDOWN", guest=True, reason="guest-shutdown")
elif mode == "panics":
    with open(console, "a") as log:
        print("Kernel panic - not syncing: Attempted to kill init!", file=log)
    say("tlsnic.status", b"started\n")
    event("SHUTDOWN", guest=True, reason="guest-reset")
elif mode == "panics-at-boot":
    event("SHUTDOWN", guest=True, reason="guest-reset")
elif mode == "powers-off":
    event("SHUTDOWN", guest=True, reason="guest-shutdown")
elif mode == "crashes":
    say("tlsnic.status", b"started\n")
    os.kill(os.getpid(), signal.SIGSEGV)
elif mode == "shell":
    shell = chardevs["shell"]
    shell.sendall(b"welcome\r\n# ")
    typed = b""
    while not typed.endswith(b"\x04"):
        typed += shell.recv(4096)
    shell.sendall(b"got " + repr(typed).encode() + b"\r\n")
    event("SHUTDOWN", guest=True, reason="guest-shutdown")
# Let the monitor's other end read before everything closes at once.
monitor.shutdown(socket.SHUT_WR)

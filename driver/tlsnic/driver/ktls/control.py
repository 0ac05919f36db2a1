"""The control socket of a process with a stack: what sysctl(8), ifconfig(8) and switch_tls ask a
kernel. A Unix socket, for its owner only; a request and an answer are one line of JSON each.

    {"op": "switch_tls", "mode": "sw", "local": ["10.0.0.1", 443], "remote": ["10.0.0.2", 40000]}
    {"op": "list"}
    {"op": "sysctl"}   {"op": "sysctl", "name": "ifnet.permitted", "value": 0}
    {"op": "ifconfig"}   {"op": "ifconfig", "ifp": "tlsnic0", "capability": "txtls4", "on": false}

An answer is {"ok": …} or {"errno": …, "error": …}.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL, ENOENT, ENXIO, EPROTO
from pathlib import Path
from threading import Thread
from typing import Any

from tlsnic.driver.ktls.ifnet import Ifnet
from tlsnic.driver.ktls.pcb import Inpcb
from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_NONE, TCP_TLS_MODE_SW
from tlsnic.driver.ktls.sockopt import ktls_get_mode
from tlsnic.driver.ktls.stack import TcpStack

MODES = {"none": TCP_TLS_MODE_NONE, "sw": TCP_TLS_MODE_SW, "ifnet": TCP_TLS_MODE_IFNET}
_NAMES = {mode: name for name, mode in MODES.items()}
_LINE_MOST = 65536
_TIMEOUT_S = 15.0

Request = dict[str, Any]


class ControlServer:
    """Serves one request after the other in a thread of its own; the stack does what is asked in
    its next turn, so somebody has to take turns."""

    def __init__(self, stack: TcpStack, path: str | Path) -> None:
        """path: of the socket, where none of a live process may be. Raises OSError."""
        self._stack = stack
        self._path = str(path)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(self._path).st_mode):
                os.unlink(self._path)
        self._listener = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            self._listener.bind(self._path)
        finally:
            os.umask(mask)
        self._listener.listen()
        self._closed = False
        self._operations: dict[str, Callable[[Request], object]] = {
            "switch_tls": self._switch_tls,
            "list": self._list,
            "sysctl": self._sysctl,
            "ifconfig": self._ifconfig,
        }
        self._thread = Thread(target=self._serve, name="KTLS control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and remove the socket."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_TIMEOUT_S)
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def _serve(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.settimeout(_TIMEOUT_S)
                client.sendall(json.dumps(self.answer(_read_line(client))).encode() + b"\n")

    def answer(self, line: bytes) -> Request:
        """What is answered to a request."""
        try:
            request = json.loads(line)
            operation = self._operations.get(request["op"])
            if operation is None:
                raise OSError(EINVAL, f"no operation {request['op']}")
            return {"ok": operation(request)}
        except OSError as error:
            return {"errno": error.errno or ENXIO, "error": error.strerror or str(error)}
        except (KeyError, ValueError, TypeError, IndexError) as error:
            return {"errno": EINVAL, "error": f"not a request: {error}"}

    def _switch_tls(self, request: Request) -> object:
        """sysctl_switch_tls() in tcp_subr.c."""
        mode = MODES[request["mode"]]
        local, remote = request["local"], request["remote"]
        stack = self._stack
        inp = stack.call(
            lambda: stack.in_pcblookup((local[0], int(local[1])), (remote[0], int(remote[1])))
        )
        stack.switch_tls(inp, mode)
        return None

    def _list(self, request: Request) -> object:
        stack = self._stack
        return stack.call(lambda: [describe(inp) for inp in stack.inpcbs])

    def _sysctl(self, request: Request) -> object:
        sysctl = self._stack.kernel.sysctl
        name = request.get("name")
        if name is None:
            return sysctl.snapshot()
        try:
            if "value" in request:
                sysctl[name] = int(request["value"])
            return sysctl[name]
        except KeyError as error:
            raise OSError(ENOENT, f"kern.ipc.tls.{name}") from error

    def _ifconfig(self, request: Request) -> object:
        stack = self._stack
        interfaces = {ifp.if_xname: ifp for ifp in _interfaces(stack)}
        name = request.get("ifp")
        if name is not None:
            ifp = interfaces.get(name)
            if ifp is None:
                raise OSError(ENXIO, f"no interface {name}")
            stack.call(lambda: ifp.set_capability(request["capability"], bool(request["on"])))
        return {
            name: {"options": ifp.capabilities_on, "running": ifp.is_running}
            for name, ifp in interfaces.items()
        }


def describe(inp: Inpcb) -> Request:
    """A connection as `list` tells of it."""
    end = inp.connection.endpoint
    hop = inp.route()
    leaf = None if hop is None else hop.ifp.leaf(inp.inp_flowid)
    return {
        "local": [socket_address(end.local_address), end.local_port],
        "remote": [socket_address(end.remote_address), end.remote_port],
        "state": inp.connection.state.value,
        "tx": _NAMES[ktls_get_mode(inp.so.so_snd)],
        "rx": _NAMES[ktls_get_mode(inp.so.so_rcv)],
        "ifp": None if leaf is None else leaf.if_xname,
    }


def socket_address(address: bytes) -> str:
    """An address as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _interfaces(stack: TcpStack) -> list[Ifnet]:
    """The cards, and what is on top of them."""
    found: list[Ifnet] = list(stack.ifnets)
    for ifp in found:
        above: list[Ifnet] = list(ifp.if_vlans.values())
        if ifp.if_lagg is not None:
            above.append(ifp.if_lagg)
        found += [one for one in above if one not in found]
    return found


def ask(path: str | Path, request: Request) -> Any:
    """Ask a control socket. Raises OSError with the errno of the answer, or why there is none."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_TIMEOUT_S)
        client.connect(str(path))
        client.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(_read_line(client) or b"{}")
    if "ok" in answer:
        return answer["ok"]
    raise OSError(answer.get("errno", EPROTO), answer.get("error", "no answer"))


def _read_line(client: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = client.recv(4096)
        if not piece or len(line) > _LINE_MOST:
            break
        line += piece
    return line

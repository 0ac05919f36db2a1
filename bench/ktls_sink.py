"""Takes connections and throws what they bring away, without touching it: a program of its own, for the
far end of a benchmark. `python ktls_sink.py PORT`; it says `ready` when it listens.
"""

import selectors
import socket
import sys

_MOST = 1 << 22


def main() -> None:
    """Until it is killed."""
    listener = socket.create_server(("", int(sys.argv[1])))
    # The window of a connection grows with what is read; there shall be no wait for it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MOST)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            end = key.fileobj
            assert isinstance(end, socket.socket)
            if end is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                # MSG_TRUNC: TCP drops the bytes instead of copying them (tcp(7)).
                count = len(end.recv(_MOST, socket.MSG_TRUNC))
            except ConnectionError:
                count = 0
            if not count:
                selector.unregister(end)
                end.close()


if __name__ == "__main__":
    main()

"""A stand-in for the device process: `fake_device.py MODE SOCKET`."""

import signal
import socket
import sys
import time

mode, path = sys.argv[1:]
print("fake device", flush=True)
if mode == "fails":
    print("no libvfio-user", file=sys.stderr)
    sys.exit(3)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    if mode == "never-listens":
        time.sleep(600)
    listener.listen()
    if mode == "dies":
        print("a bug", file=sys.stderr)
        time.sleep(0.05)
        sys.exit(4)
    signal.pause()

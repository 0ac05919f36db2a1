"""A headless browser with one page, driven over the DevTools protocol by a pair of pipes.

Protocol: chromedevtools.github.io/devtools-protocol; messages are JSON, each ended by a zero byte.
"""

import base64
import io
import json
import os
import select
import subprocess
import sys
import time

import numpy as np
from PIL import Image

TIMEOUT_S = 60
_LAUNCH = """\
import os, sys
# Both out of the way first: either may be number 3 or 4 itself.
import fcntl
ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.closerange(5, 64)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEY_CODES = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
}


class Page:
    """A tab. `problems` has every error, warning and exception that the browser told of."""

    def __init__(self, browser, folder, width=1200, height=900):
        self.problems = []
        commands, self._to = os.pipe()
        self._from, events = os.pipe()
        data = folder / "browser"
        data.mkdir()
        self._log = (folder / "browser.log").open("wb")
        argv = [*browser.argv_prefix, f"--user-data-dir={data}", "--remote-debugging-pipe"]
        argv += [f"--window-size={width},{height}", "--hide-scrollbars", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(commands), str(events), *argv],
            env={
                **os.environ,
                **browser.environment,
                "HOME": str(data),
                "XDG_CACHE_HOME": str(data),
            },
            pass_fds=(commands, events),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(commands)
        os.close(events)
        self._buffer = b""
        self._number = 0
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def close(self):
        """End the browser and everything it started."""
        try:
            self._session = None
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, EOFError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._to)
            os.close(self._from)
            self._log.close()

    def call(self, method, **params):
        """A command's result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._to, rest) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _next(self):
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], deadline - time.monotonic())
            if not ready:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise EOFError("the browser is gone")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded":
            self.problems.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.problems.append(str(params["args"]))

    # What tests do.

    def open(self, path):
        """Load a page, and wait until it is drawn."""
        self.call("Page.navigate", url=path.as_uri())
        self.run("new Promise((done) => { if (document.readyState === 'complete') done();"
                 " else addEventListener('load', done); })")  # fmt: skip
        self.drawn()

    def run(self, script):
        """The value of a JavaScript expression."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def drawn(self):
        """Wait for what has been asked for to be on the screen."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def mouse(self, kind, x, y, **more):
        """An event of the mouse: Moved, Pressed, Released, Wheel."""
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)
        self.drawn()

    def press(self, key, text=None):
        """A key goes down and up."""
        common = {"key": key, "windowsVirtualKeyCode": KEY_CODES.get(key, ord(key[0]))}
        text = key if text is None and len(key) == 1 else text
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)
        self.drawn()

    def theme(self, name):
        """What the user prefers: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.drawn()

    def screenshot(self):
        """The page's pixels, (height, width, 3)."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

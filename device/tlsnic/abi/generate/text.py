"""Small text tools that the writers share."""

import re
import subprocess
import sys
import textwrap

GENERATED = "Generated from rdl/{source} by `python -m tlsnic.abi.generate`; do not edit."


def snake_case(name: str) -> str:
    """`LinkState` → `link_state`, `TLSVersion12` → `tls_version12`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower()


def one_line(text: str) -> str:
    """All white space runs as one blank."""
    return " ".join(text.split())


def sentence(*texts: str) -> str:
    """The first text that is not empty, on one line, with a full stop."""
    for text in texts:
        line = one_line(text)
        if line:
            return line if line.endswith((".", "!", "?", ":")) else f"{line}."
    return ""


def docstring(text: str, indent: int) -> str:
    """A docstring statement at `indent` blanks, wrapped to 100 columns."""
    pad = " " * indent
    # A backslash or a quote at the end would end the literal early.
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    if text.endswith('"'):
        text += " "
    if "\n" not in text and len(text) + indent + 6 <= 100:
        return f'{pad}"""{text}"""'
    lines: list[str] = []
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        first = '"""' if number == 0 else ""
        lines += ["", *textwrap.wrap(first + one_line(paragraph), 100 - indent)][number == 0 :]
    body = "\n".join(f"{pad}{line}" if line else "" for line in lines)
    return f'{body}\n{pad}"""'


def literal(text: str, room: int, width: int = 84) -> str:
    """A string literal, in parentheses over several lines when longer than `room`."""
    if len(repr(text)) <= room:
        return repr(text)
    pieces: list[str] = []
    line = ""
    for word in re.split(r"(?<= )", text):
        if line and len(line) + len(word) > width:
            pieces.append(line)
            line = ""
        line += word
    pieces.append(line)
    return "(" + "\n".join(repr(piece) for piece in pieces) + ")"


def ruff_format(source: str) -> str:
    """Python source in the project's format; RuntimeError with ruff's message if it cannot be."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "100", "-"]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"ruff format failed: {result.stderr.strip()}")
    return result.stdout

"""The examples' HTTP/1.1: requests cut anywhere are read as whole ones; what is none is refused."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.qemu.peer.http11 import (
    HEAD_MOST,
    HttpError,
    RequestReader,
    parse_range,
    response_head,
)

STREAM = (
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept: b\r\n\r\n"
    b"PUT /up HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    b"\r\nPOST /up HTTP/1.1\r\nHOST:x\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0A \r\n0123456789\r\n0\r\nX: y\r\n\r\n"
    b"HEAD * HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n"
)
REQUESTS = [
    ("GET", "/a?b=c", (1, 1), {"host": "x", "accept": "a, b"}, b""),
    (
        "PUT",
        "/up",
        (1, 1),
        {"host": "x", "content-length": "5", "expect": "100-continue"},
        b"hello",
    ),
    ("POST", "/up", (1, 1), {"host": "x", "transfer-encoding": "Chunked"}, b"abc0123456789"),
    ("HEAD", "*", (1, 0), {"connection": "Keep-Alive", "content-length": "0"}, b""),
]


def read_all(pieces):
    reader = RequestReader()
    found = []
    request, body = None, b""
    for piece in pieces:
        reader.feed(piece)
        while True:
            if request is None:
                request, body = reader.request(), b""
                if request is None:
                    break
            body += reader.body()
            if reader.body_left:
                break
            found.append((*request, body))
            request = None
    assert reader.is_empty
    return found


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_cut_anywhere(cuts):
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(places)]
    assert read_all(pieces) == REQUESTS


def head(*lines):
    reader = RequestReader()
    reader.feed("\r\n".join((*lines, "", "")).encode("latin-1"))
    return reader.request()


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, ("GET / HTTP/1.1",)),
        (400, ("GET / HTTP/1.1", "Host: a", "Host: b")),
        (400, ("GET  / HTTP/1.1", "Host: a")),
        (400, ("GET /", "Host: a")),
        (400, ("GET /\xe4 HTTP/1.1", "Host: a")),
        (400, ("nonsense",)),
        (400, ("GET / HTTP/1.1", "Host: a", " folded")),
        (400, ("GET / HTTP/1.1", "Host : a")),
        (400, ("GET / HTTP/1.1", "Host: a", "Content-Length: -1")),
        (400, ("GET / HTTP/1.1", "Host: a", "Content-Length: 1, 2")),
        (400, ("GET / HTTP/1.1", "Host: a", "Content-Length: \xb2")),
        (400, ("GET / HTTP/1.1", "Host: a", "Content-Length: 1", "Transfer-Encoding: chunked")),
        (501, ("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked")),
        (505, ("GET / HTTP/2.0", "Host: a")),
        (431, ("GET / HTTP/1.1", "Host: a", "X: " + "x" * HEAD_MOST)),
    ],
)
def test_what_is_no_request(status, lines):
    with pytest.raises(HttpError) as error:
        head(*lines)
    assert error.value.status == status


def test_a_head_that_never_ends():
    reader = RequestReader()
    reader.feed(b"GET / HTTP/1.1\r\nX: ")
    assert reader.request() is None
    reader.feed(b"x" * HEAD_MOST)
    with pytest.raises(HttpError) as error:
        reader.request()
    assert error.value.status == 431


@pytest.mark.parametrize("chunk", [b"x\r\n", b"\r\n", b"1\r\nab\r\n", b"1" * (HEAD_MOST + 1)])
def test_a_chunk_that_is_none(chunk):
    reader = RequestReader()
    reader.feed(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    reader.request()
    with pytest.raises(HttpError) as error:
        reader.body()
    assert error.value.status == 400


@given(st.binary(max_size=200))
def test_anything_is_read_or_refused(data):
    reader = RequestReader()
    reader.feed(data)
    with suppress(HttpError):
        if reader.request() is not None:
            reader.body()


@pytest.mark.parametrize(
    ("line", "connection", "keeps"),
    [
        ("GET / HTTP/1.1", None, True),
        ("GET / HTTP/1.1", "close", False),
        ("GET / HTTP/1.1", "x, Close", False),
        ("GET / HTTP/1.0", None, False),
        ("GET / HTTP/1.0", "keep-alive", True),
    ],
)
def test_keep_alive(line, connection, keeps):
    fields = ["Host: a"] if connection is None else ["Host: a", f"Connection: {connection}"]
    assert head(line, *fields).keeps_alive is keeps


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=2-", range(2, 10)),
        ("bytes=2-99", range(2, 10)),
        ("Bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=-", None),
        ("bytes=10-", 416),
        ("bytes=-0", 416),
    ],
)
def test_ranges(value, expected):
    if expected == 416:
        with pytest.raises(HttpError) as error:
            parse_range(value, 10)
        assert error.value.status == 416
    else:
        assert parse_range(value, 10) == expected


def test_response_heads():
    first, date, *rest = response_head(200, {"Content-Length": 3}).split(b"\r\n")
    assert first == b"HTTP/1.1 200 OK"
    assert date.startswith(b"Date: ")
    assert date.endswith(b" GMT")
    assert rest == [b"Content-Length: 3", b"", b""]
    assert response_head(100, {}) == b"HTTP/1.1 100 Continue\r\n\r\n"

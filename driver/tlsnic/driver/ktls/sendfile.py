"""sendfile(2): the pages of a file into the send buffer, by reference (vn_sendfile).

With software TLS a worker encrypts them into other pages; with a card that encrypts, or without
TLS, nothing but the card reads them.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from tlsnic.driver.ktls.mbuf import Mbuf
from tlsnic.driver.ktls.pages import FileKey, Page
from tlsnic.driver.ktls.session import TLS_MAX_MSG_SIZE_V10_2, TLS_RLTYPE_APP
from tlsnic.driver.ktls.sosend import WAITING, append, check_can_send, wait_for_space

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket


def vn_sendfile(so: Socket, file: int, offset: int, nbytes: int) -> int:
    """Send `nbytes` from `offset` of the file with descriptor `file` on, 0: to its end; how many
    bytes were taken. Less than asked for when the file ends, or has become shorter, or there is no
    room and the socket does not block. Records end where pages end, but for the last.

    Raises EINVAL for negative numbers, else as `sosend` when nothing was taken, OSError of reading.
    """
    if offset < 0 or nbytes < 0:
        raise OSError(EINVAL, "a negative offset or length")
    cache = so.kernel.page_cache
    taken = 0
    with so.send_lock:
        check_can_send(so)
        tls = so.so_snd.sb_tls_info
        most = TLS_MAX_MSG_SIZE_V10_2 if tls is None else tls.params.max_frame_len
        key, end = cache.look(file)
        if nbytes:
            end = min(end, offset + nbytes)
        while offset < end:
            length = min(_upto(offset, most, cache.pool.page_bytes), end) - offset
            try:
                space = wait_for_space(so, min(length, so.so_snd.sb_hiwat), atomic=True)
            except OSError as error:
                if taken and error.errno in WAITING:
                    break
                raise
            tls = so.so_snd.sb_tls_info  # the mode may have been switched by what ran meanwhile
            pages, length = _grab(so, file, key, offset, min(length, space))
            if not length:  # the file is shorter than it was
                break
            within = offset % cache.pool.page_bytes
            append(so, tls, _mbuf(so, pages, within, length), TLS_RLTYPE_APP)
            offset += length
            taken += length
    return taken


def _upto(offset: int, most: int, page_bytes: int) -> int:
    """Where a record from `offset` on ends: with a page, if it can."""
    end = (offset + most) // page_bytes * page_bytes
    return end if end > offset else offset + most


def _mbuf(so: Socket, pages: list[Page], within: int, length: int) -> Mbuf:
    try:
        return Mbuf.get_pages(pages, within, length, so.kernel.memory)
    except BaseException:
        for page in pages:
            page.unwire()
        raise


def _grab(so: Socket, file: int, key: FileKey, offset: int, length: int) -> tuple[list[Page], int]:
    """The pages with these bytes, wired, and how many of the bytes there are."""
    cache = so.kernel.page_cache
    size = cache.pool.page_bytes
    first, last = offset // size, (offset + length - 1) // size
    pages: list[Page] = []
    found = -(offset % size)
    try:
        for index in range(first, last + 1):
            page = cache.grab(file, index, key)
            pages.append(page)
            found += page.valid
            if page.valid < size:
                break
    except OSError:
        for page in pages:
            page.unwire()
        raise
    found = max(min(found, length), 0)
    if not found:
        for page in pages:
            page.unwire()
        return [], 0
    # A page that ends where the bytes do not begin has none of them.
    while len(pages) > 1 and (len(pages) - 1) * size >= offset % size + found:
        pages.pop().unwire()
    return pages, found

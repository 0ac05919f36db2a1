"""What is known of host memory from the DMA that passed."""

from tlsnic.device.core import DmaFault

PAGE_BYTES = 4096


class ShadowMemory:
    """Memory without an end; bytes that have not passed are not there."""

    def __init__(self) -> None:
        self._pages: dict[int, tuple[bytearray, bytearray]] = {}
        """By page number: the bytes, and for each whether it is known."""
        self._pending: list[tuple[int, bytearray]] = []

    def store(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Bytes that passed."""
        view = memoryview(data)
        while view:
            number, offset = divmod(address, PAGE_BYTES)
            page, known = self._pages.setdefault(
                number, (bytearray(PAGE_BYTES), bytearray(PAGE_BYTES))
            )
            size = min(len(view), PAGE_BYTES - offset)
            page[offset : offset + size] = view[:size]
            known[offset : offset + size] = b"\x01" * size
            view, address = view[size:], address + size

    def view(self, address: int, length: int, write: bool) -> memoryview:
        """A copy to read, or a buffer to fill, which is stored when something is asked for again.

        Raises:
            DmaFault: some of it is not known, and not to be written.
        """
        self._settle()
        if write:
            buffer = bytearray(length)
            self._pending.append((address, buffer))
            return memoryview(buffer)
        copy = bytearray()
        while len(copy) < length:
            number, offset = divmod(address + len(copy), PAGE_BYTES)
            size = min(length - len(copy), PAGE_BYTES - offset)
            page, known = self._pages.get(number, (b"", b""))
            if not page or not all(known[offset : offset + size]):
                raise DmaFault(address, length)
            copy += page[offset : offset + size]
        return memoryview(copy)

    def _settle(self) -> None:
        for address, buffer in self._pending:
            self.store(address, buffer)
        self._pending.clear()

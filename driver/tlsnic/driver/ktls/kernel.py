"""What all sockets of a stack have in common: the kernel's globals, in one object."""

from __future__ import annotations

from tlsnic.driver.ktls.backend import Backends
from tlsnic.driver.ktls.counters import TlsSysctl
from tlsnic.driver.ktls.cryptography_backend import CryptographyBackend
from tlsnic.driver.ktls.pages import Memory, PageCache
from tlsnic.driver.ktls.workers import ThreadPool, WorkerPool


class Kernel:
    """`sysctl`: counters and settings; `backends`; `workers`; `memory`: what records are made in;
    `page_cache`: files that sendfile sends."""

    def __init__(
        self,
        memory: Memory | None = None,
        workers: WorkerPool | None = None,
        *,
        cached_pages: int = 4096,
    ) -> None:
        """memory: of the card, so that it sends from it; by default memory that no card reaches.
        workers: by default two threads. cached_pages: of PAGE_BYTES, at most in the page cache.
        """
        self.sysctl = TlsSysctl()
        self.backends = Backends()
        self.backends.register(CryptographyBackend())
        self.memory = memory if memory is not None else Memory()
        self.workers = workers if workers is not None else ThreadPool()
        self.sysctl.add("stats.threads", self.workers.threads)
        self.page_cache = PageCache(self.memory.files, cached_pages)

    def close(self) -> None:
        """End the workers and give the memory back. Sockets are closed before."""
        self.workers.close()
        self.page_cache.close()
        self.memory.close()

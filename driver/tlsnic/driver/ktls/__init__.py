"""Kernel TLS as FreeBSD does it, in Python above the driver: sessions, socket buffers, records."""

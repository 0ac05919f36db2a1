"""TLS transmit as the card does it, without I/O: record ciphers, flows, and what a packet needs."""

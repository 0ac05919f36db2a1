"""Packets as pure functions: parsing, checksums, segmentation, VLAN tags, RSS, receive coalescing.

No I/O, no clock, nothing of the device around it. The public names are those of the modules below.
"""

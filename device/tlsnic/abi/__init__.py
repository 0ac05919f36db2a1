"""The hardware interface: registers, descriptors, commands, events. Device and driver share it."""

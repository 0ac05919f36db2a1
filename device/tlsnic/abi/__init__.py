"""The hardware interface: registers, descriptors, commands and events, shared by device and driver."""

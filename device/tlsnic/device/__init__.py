"""The network card: a core without I/O, and around it the vfio-user server and the wires."""

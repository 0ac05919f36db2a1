"""Turns the SystemRDL description of the hardware interface into Python, C and the reference page.

    python -m tlsnic.abi.generate [--check]

`read` makes an `Interface` of the RDL, one module per kind of output writes it, `build` names the
files. The outputs are committed, so that neither the device, the driver nor the guest needs the
RDL compiler.

Conventions of the RDL:

* Every addrmap in the root namespace that no other instantiates is taken, in order of definition.
  An addrmap that holds addrmaps only groups them; its name and desc open the reference.
* An addrmap without `struct_kind` is a BAR of 32- and 64-bit registers. Its size is rounded up to
  a power of two. A register's name is its path in upper case. Per-queue registers are a regfile
  array. Undeclared bits are reserved.
* An addrmap with `struct_kind` "descriptor", "completion", "command", "response", "event" or
  "block" is a structure in memory. Its fields have 8, 16, 32 or 64 bits, aligned to bytes. Members
  are called after their fields, with the names of enclosing regfiles in front; elements of a
  register array get numbers. A `raw` register array is one byte string called after the register.
  A field whose name starts with "reserved" is as good as undeclared and only makes the structure
  larger; so does `size_bytes`. A trailing underscore of a name is dropped. A command,
  response or event without `opcode` is the form that all others of its kind have in common: their
  members take description and enumeration from it.
  "enums" as `struct_kind` means: only the enumerations used in it are of interest.
* `flags` on a field makes its `encode` enumeration a set of bit masks; bits without a name are
  reserved.
* `secret` on a field or `raw` register keeps its value out of the Python structure's repr.
* Enumerations in the root namespace are taken whether used or not; `//` lines right before one
  describe it.
* `section` holds until the next register or structure that names one.
"""

"""Pictures of what TLS offload did to a connection, made from a capture of the device.

    trace ─ reading ─ (coverage, framing) ─ analysis ─ Flow ─ summary, png, html

Nothing in here needs the device to run, and nothing of the device needs this.
"""

"""The far end of the card's wire, and everything else that the conformance suite needs of the host.

`service.Service` is the table of all that: called directly by tests that run on the host, and over
the control channel by tests that run inside a guest. Nothing is imported here: guests use `data`.
"""

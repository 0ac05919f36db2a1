"""What the tests stand on: the card under test, the far end of its wire, and the checks after each.

environment   where the suite runs: on the host, or inside a guest
peer          the far end of the wire and the host, as tests see them
watch         diagnostics that a test expects, and the leak checks at its end
fixtures      all of it as pytest fixtures
plugin        rows, deadlines and reports
traffic       frames for tests
"""

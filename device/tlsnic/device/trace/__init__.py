"""Seeing what passes the core's boundary: tracer, sinks, records and their replay."""

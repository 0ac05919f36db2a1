"""The debug shell and the live view: `tlsnic shell` and `tlsnic top`."""

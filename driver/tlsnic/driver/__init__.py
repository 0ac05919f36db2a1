"""The reference driver for the tlsnic card. Imports tlsnic.abi, never tlsnic.device."""

"""Seeing inside a running device, and changing it: the control socket and the methods behind it."""

from tlsnic.device.control.card import Card, PortCard
from tlsnic.device.control.inspector import METHODS, Inspector
from tlsnic.device.control.protocol import ControlError, ErrorName
from tlsnic.device.control.traces import Client

__all__ = ["METHODS", "Card", "Client", "ControlError", "ErrorName", "Inspector", "PortCard"]

"""TLS above the card: sessions, records, and what the driver keeps of them."""

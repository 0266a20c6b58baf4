"""How a network is trained from settings."""

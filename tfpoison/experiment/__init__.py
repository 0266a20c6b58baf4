"""A grid of trials: set-up, adversary, clean networks, victims."""

"""Whether a trained network has a backdoor, and how to take it out."""

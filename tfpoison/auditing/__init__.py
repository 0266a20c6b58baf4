"""Which training images are suspect, and what to do about them."""

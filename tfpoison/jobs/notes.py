"""What a job tells whoever watches it, beside its results."""

import functools
import sys


@functools.cache
def tell_once(text: str) -> None:
    """Writes a note to standard error, once in a process."""
    print(f"tfpoison: {text}", file=sys.stderr, flush=True)

"""What a job tells whoever watches it, beside its results."""

import functools
import math
import sys

MISSING = "–"


@functools.cache
def tell_once(text: str) -> None:
    """Writes a note to standard error, once in a process."""
    print(f"tfpoison: {text}", file=sys.stderr, flush=True)


def decimal(value: float | None, digits: int, missing: str = MISSING) -> str:
    """Returns a number with so many digits; `missing` for NaN, and for null, as JSON has it."""
    return missing if value is None or math.isnan(value) else f"{value:.{digits}f}"


def share_of_range(share: float) -> str:
    """Returns a share of the pixel range in grey levels, as people write it: "16/255"."""
    return f"{255 * share:.3g}/255"

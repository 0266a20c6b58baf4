"""JSON as every reader takes it: Python's own writer puts NaN and Infinity, which are none."""

import json
import math
from typing import Any


def dumps(value: Any, **settings: Any) -> str:
    """Returns valid JSON, as `json.dumps` would; null stands for numbers that are not finite."""
    return json.dumps(_finite(value), allow_nan=False, **settings)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value

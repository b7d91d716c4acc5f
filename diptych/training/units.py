"""Large numbers as people say them."""

from __future__ import annotations

_BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def size(count: float) -> str:
    """Bytes: ``1.5 GiB``."""
    power = 0
    while count >= 1024 and power < len(_BYTES) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.1f} {_BYTES[power]}" if power and count < 100 else f"{count:.0f} {_BYTES[power]}"


def operations(count: float) -> str:
    """Floating-point operations: ``26.2 GFLOP``."""
    power = 0
    while count >= 1000 and power < len(_PREFIXES) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {_PREFIXES[power]}FLOP"


def duration(seconds: float) -> str:
    """Of a stretch of work: ``1.2 s``, ``3 min``, ``5.1 hours``, ``12 days``."""
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86_400:,.0f} days"

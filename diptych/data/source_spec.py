"""What a recipe says of its sources: where they lie, how often each is drawn from, where remote ones are kept."""

from __future__ import annotations

from dataclasses import dataclass

from diptych.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """Where whole remote shards are kept, and how patiently they are fetched.

    folder:    null for ``diptych/remote`` in the user's cache directory. Processes and runs may share it.
    gigabytes: (10^9 bytes) that it may hold. Twice 16 shards are read or expected at a time.
    timeout:   seconds of one request in which less than 16 kB a second come before it is given up.
    attempts:  at each shard before its samples are replaced by others.
    """

    folder: str | None = None
    gigabytes: float = 100.0
    timeout: float = 30.0
    attempts: int = 5

    def __post_init__(self) -> None:
        if not self.gigabytes > 0 or not self.timeout > 0 or self.attempts < 1:
            raise ConfigError(
                f"cache.gigabytes, timeout and attempts must be positive, not {self.gigabytes}, {self.timeout} and "
                f"{self.attempts}"
            )

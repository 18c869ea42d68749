"""Objects that a pickle must not carry, and that say so."""

from __future__ import annotations

from typing import Any, ClassVar, Self, SupportsIndex


class NotPicklable:
    """Base of objects that refuse to be pickled; a copy of one, being immutable, is itself."""

    _not_pickled: ClassVar[str]
    """Why not, and what to do instead."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any], /) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> str | tuple[Any, ...]:
        raise TypeError(f"a {type(self).__name__} can't be pickled: {self._not_pickled}")

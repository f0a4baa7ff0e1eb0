"""Union-find (disjoint sets) with path halving (Tarjan and van Leeuwen 1984)."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Partition(Generic[T]):
    """Disjoint sets of items. Each set is represented by one of its members, its root.

    New items are sets of one.

    Examples:
        >>> sets = Partition()
        >>> sets.join(sets.root("a"), [sets.root("b")])
        >>> sets.root("b"), sets.root("c")
        ('a', 'c')
    """

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def root(self, item: T) -> T:
        """The root of the set that contains `item`."""
        parent = self._parent
        while parent.setdefault(item, item) != item:
            parent[item] = item = parent[parent[item]]
        return item

    def join(self, root: T, others: Iterable[T]) -> None:
        """Merges the sets with the roots `others` into the set with the root `root`."""
        self._parent.update(dict.fromkeys(others, root))

    def roots(self) -> dict[T, T]:
        """Item -> the root of its set, for all items seen so far."""
        return {item: self.root(item) for item in list(self._parent)}

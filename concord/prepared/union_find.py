"""Sets that grow together: union-find with path halving (Tarjan and van Leeuwen 1984)."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Partition(Generic[T]):
    """Disjoint sets of items, each named by one of its members; an item that nobody joined is a set of its own."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}

    def root(self, item: T) -> T:
        """The member that names the set of `item`."""
        parent = self._parent
        while parent.setdefault(item, item) != item:
            parent[item] = item = parent[parent[item]]
        return item

    def join(self, name: T, others: Iterable[T]) -> None:
        """Makes the sets named by `others` part of the set that `name` names."""
        self._parent.update(dict.fromkeys(others, name))

    def roots(self) -> dict[T, T]:
        """Item -> the name of its set, for all items seen."""
        return {item: self.root(item) for item in list(self._parent)}

"""What the scheduler knows of the nodes: who is there, what each holds, what each can take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import limits


@dataclass(slots=True)
class NodeState:
    """One node."""

    slots: int = 0
    capacity: int = 0
    held: int = 0
    failed_starts: int = 0
    was_ready: bool = False
    stopped: bool = False


class Assignments:
    """The nodes of a run, which may come and go, and the attempts that are out with them.

    Every attempt that is out is held by exactly one node. What a gone node held is given back at
    once; late news of it finds nobody who holds it, and changes nothing.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._known = {name: NodeState() for name in names}
        #: nodes with room: only they are looked at when there is something to give
        self._hungry: dict[str, NodeState] = {}
        #: mini_batch -> (attempt, node) of every attempt that is out
        self._held: dict[int, tuple[int, str]] = {}
        #: how many nodes were lost while they held a mini-batch
        self._losses: dict[int, int] = {}

    def join(self, name: str) -> None:
        """Take a node into account; it offers what it can hold by itself."""
        self._known[name] = NodeState()

    def get(self, name: str) -> NodeState | None:
        """Return a node, or None where it is gone."""
        return self._known.get(name)

    def remove(
        self, name: str, running: set[int] | None
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """Take leave of a node.

        Parameters
        ----------
        name
            The node.
        running
            What its workers were last seen to run: where each of them is still at what it was seen
            with, only those may have brought the node down, and otherwise whatever it held.
            None blames nobody.

        Returns
        -------
        tuple
            The (mini_batch, attempt) pairs that it gives back, and the mini-batches that have
            taken so many nodes with them that it is counted as a failed attempt (rule R18). These
            stay out, under its name, until their failure is told.
        """
        gone = self._known.pop(name, None)
        if gone is None:
            return [], []
        self._hungry.pop(name, None)
        mine = [(k, attempt) for k, (attempt, node) in self._held.items() if node == name]
        suspects = self._suspects({k for k, _ in mine}, running, gone.slots)
        given_back, charged = [], []
        for mini_batch, attempt in mine:
            if mini_batch in suspects:
                self._losses[mini_batch] = self._losses.get(mini_batch, 0) + 1
                if self._losses[mini_batch] >= limits.MAX_NODE_LOSSES:
                    charged.append(mini_batch)
                    continue
            del self._held[mini_batch]
            given_back.append((mini_batch, attempt))
        return given_back, charged

    @staticmethod
    def _suspects(held: set[int], running: set[int] | None, slots: int) -> set[int]:
        if running is None:
            return set()
        seen = held & running
        return seen if len(seen) >= max(1, slots) else held

    def stop(self, name: str) -> None:
        """Note that a node has ended all its workers."""
        node = self._known.get(name)
        if node is not None:
            node.stopped = True

    def offer(self, name: str, slots: int, capacity: int) -> None:
        """Note how many mini-batches a node can hold now."""
        node = self._known.get(name)
        if node is not None:
            node.slots, node.capacity = slots, capacity
            self._update_capacity(name, node)

    def give(self, name: str, first: int, count: int, attempt: int) -> None:
        """Note that a node has mini-batches ``first`` to ``first + count - 1`` now."""
        for mini_batch in range(first, first + count):
            self._held[mini_batch] = (attempt, name)
        node = self._known[name]
        node.held += count
        self._update_capacity(name, node)

    def claim(self, mini_batch: int, attempt: int, name: str) -> bool:
        """Return whether this attempt is the one that is out, and end it."""
        if self._held.get(mini_batch) != (attempt, name):
            return False  # late news of an attempt that was given up
        del self._held[mini_batch]
        node = self._known.get(name)
        if node is not None:
            node.held -= 1
            self._update_capacity(name, node)
        return True

    def forget(self, mini_batch: int) -> None:
        """Forget whom a mini-batch has taken down: it is over."""
        if self._losses:
            self._losses.pop(mini_batch, None)

    def attempt_of(self, mini_batch: int) -> int:
        """Return the number of the attempt that is out."""
        return self._held[mini_batch][0]

    def with_capacity(self) -> list[tuple[str, int]]:
        """Return the nodes that can take more, and how many mini-batches each."""
        return [(name, node.capacity - node.held) for name, node in self._hungry.items()]

    def _update_capacity(self, name: str, node: NodeState) -> None:
        free = node.capacity - node.held
        # A long queue is filled up in steps worth a message, a short one at once.
        if free <= 0 or free < node.capacity // 4:
            self._hungry.pop(name, None)
        else:
            self._hungry[name] = node

    @property
    def holds_any(self) -> bool:
        """Whether any attempt is out."""
        return bool(self._held)

    @property
    def all_stopped(self) -> bool:
        """Whether no node has a worker any more; true where there is no node."""
        return all(node.stopped for node in self._known.values())

    @property
    def hopeless(self) -> bool:
        """Whether no worker was ever ready, and each slot has failed often enough (rule R21)."""
        return all(
            not node.was_ready and node.failed_starts >= limits.INIT_TRIES * max(1, node.slots)
            for node in self._known.values()
        )

    def names(self) -> list[str]:
        """Return the names of the nodes that are there."""
        return list(self._known)

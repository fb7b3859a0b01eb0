"""Assignments: the nodes of a run, their assigned attempts, and their free capacity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import limits
from .signals import Success


@dataclass(slots=True)
class NodeState:
    """One node."""

    slots: int = 0
    capacity: int = 0
    held: int = 0
    failed_starts: int = 0
    was_ready: bool = False
    stopped: bool = False
    idle_since_ms: int | None = None


class Assignments:
    """The nodes of a run, which may come and go, and the attempts assigned to them.

    Exactly one node holds an assigned attempt. When a node is lost, its attempts are returned;
    results that arrive later do not match an assignment, and are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._nodes = {name: NodeState() for name in names}
        #: nodes with free capacity: only these are visited when mini-batches are assigned
        self._with_room: dict[str, NodeState] = {}
        #: mini_batch -> (attempt, node)
        self._held: dict[int, tuple[int, str]] = {}
        #: held mini-batches whose results do not count, and those of them that have ended
        self._void: set[int] = set()
        self._ended_void: list[int] = []
        #: number of nodes lost while they ran it, by mini-batch
        self._losses: dict[int, int] = {}

    def __bool__(self) -> bool:
        """Return whether a node holds an attempt."""
        return bool(self._held)

    def add(self, name: str) -> None:
        """Add a node, without capacity until it offers some."""
        self._nodes[name] = NodeState()

    def get(self, name: str) -> NodeState | None:
        """Return a node, or None if it was lost."""
        return self._nodes.get(name)

    def names(self) -> list[str]:
        """Return the names of the nodes."""
        return list(self._nodes)

    def remove(
        self, name: str, running: set[int] | None
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Remove a lost node.

        Parameters
        ----------
        name
            The node.
        running
            The mini-batches that its workers were last reported to run. If the node still holds one
            for each worker, only these are suspects; otherwise everything that it held. None: no
            suspects.

        Returns
        -------
        tuple
            The mini-batches to assign again, and (mini_batch, attempt) pairs that count as failed,
            since too many nodes were lost while they ran (rule R18).
        """
        node = self._nodes.pop(name, None)
        if node is None:
            return [], []
        self._with_room.pop(name, None)
        held = [(k, attempt) for k, (attempt, holder) in self._held.items() if holder == name]
        suspects = self._suspects({k for k, _ in held}, running, node.slots)
        returned, charged = [], []
        for mini_batch, attempt in held:
            del self._held[mini_batch]
            is_void = mini_batch in self._void
            self._void.discard(mini_batch)
            if mini_batch in suspects and not is_void:
                self._losses[mini_batch] = self._losses.get(mini_batch, 0) + 1
                if self._losses[mini_batch] >= limits.MAX_NODE_LOSSES:
                    charged.append((mini_batch, attempt))
                    continue
            returned.append(mini_batch)
        return returned, charged

    @staticmethod
    def _suspects(held: set[int], running: set[int] | None, slots: int) -> set[int]:
        if running is None:
            return set()
        still_running = held & running
        return still_running if len(still_running) >= max(1, slots) else held

    def mark_stopped(self, name: str) -> None:
        """Record that all workers of a node have ended."""
        node = self._nodes.get(name)
        if node is not None:
            node.stopped = True

    def set_capacity(self, name: str, slots: int, capacity: int) -> None:
        """Set how many workers a node has, and how many mini-batches it can hold."""
        node = self._nodes.get(name)
        if node is not None:
            node.slots, node.capacity = slots, capacity
            self._update_room(name, node)

    def assign(self, name: str, first: int, count: int, attempt: int) -> None:
        """Assign mini-batches ``first`` to ``first + count - 1`` to a node."""
        for mini_batch in range(first, first + count):
            self._held[mini_batch] = (attempt, name)
        node = self._nodes[name]
        node.held += count
        node.idle_since_ms = None
        self._update_room(name, node)

    def claim(self, mini_batch: int, attempt: int, name: str) -> bool:
        """End an attempt; return False if it is void, or is not assigned to this node any more."""
        if self._held.get(mini_batch) != (attempt, name):
            return False
        del self._held[mini_batch]
        node = self._nodes.get(name)
        if node is not None:
            node.held -= 1
            self._update_room(name, node)
        return not self._end_void(mini_batch)

    def _end_void(self, mini_batch: int) -> bool:
        """Return whether the attempt that has ended is void."""
        is_void = mini_batch in self._void
        if is_void:
            self._void.remove(mini_batch)
            self._ended_void.append(mini_batch)
        return is_void

    def void(self) -> None:
        """Let the results of all held attempts not count; they still run to their end."""
        self._void.update(self._held)

    def ended_void(self) -> list[int]:
        """Return, once, the mini-batches whose void attempts have ended."""
        ended, self._ended_void = self._ended_void, []
        return ended

    def claim_all(self, name: str, successes: Sequence[Success]) -> list[bool]:
        """End attempts of a node, as `claim`, with one look at the node for all of them."""
        held = self._held
        claimed = []
        for mini_batch, attempt, *_ in successes:
            is_held = held.get(mini_batch) == (attempt, name)
            if is_held:
                del held[mini_batch]
            claimed.append(is_held)
        node = self._nodes.get(name)
        if node is not None:
            node.held -= sum(claimed)
            self._update_room(name, node)
        if self._void:
            pairs = zip(claimed, successes, strict=True)
            return [is_held and not self._end_void(success[0]) for is_held, success in pairs]
        return claimed

    def held(self) -> list[int]:
        """Return the mini-batches that nodes hold."""
        return list(self._held)

    def clear_losses(self, mini_batch: int) -> None:
        """Forget the nodes lost while they ran a mini-batch, since it has succeeded."""
        if self._losses:
            self._losses.pop(mini_batch, None)

    def with_room(self) -> list[tuple[str, int]]:
        """Return the nodes that can accept more mini-batches, and how many each can accept."""
        return [(name, node.capacity - node.held) for name, node in self._with_room.items()]

    def _update_room(self, name: str, node: NodeState) -> None:
        room = node.capacity - node.held
        # A long queue is refilled a quarter at a time, to limit the number of messages.
        if room <= 0 or room < node.capacity // 4:
            self._with_room.pop(name, None)
        else:
            self._with_room[name] = node

    def idle_nodes(self, now_ms: int, limit_ms: int) -> list[str]:
        """Return the nodes without capacity and without an attempt for at least ``limit_ms``."""
        idle: list[str] = []
        for name, node in self._nodes.items():
            if node.capacity or node.held:
                node.idle_since_ms = None
            elif node.idle_since_ms is None:
                node.idle_since_ms = now_ms
            elif now_ms - node.idle_since_ms >= limit_ms:
                idle.append(name)
        return idle

    @property
    def slots(self) -> int:
        """Workers of all nodes."""
        return sum(node.slots for node in self._nodes.values())

    @property
    def all_stopped(self) -> bool:
        """Whether no node has a worker any more; true without nodes."""
        return all(node.stopped for node in self._nodes.values())

    @property
    def cannot_start(self) -> bool:
        """Whether no worker was ever ready, and each slot has failed too often (rule R21)."""
        return all(
            not node.was_ready and node.failed_starts >= limits.INIT_TRIES * max(1, node.slots)
            for node in self._nodes.values()
        )

"""What was used of late: a sliding window of sixty slots, for limiters to count tokens in.

In any `period`, however it lies, no more is admitted than the limit. A bucket that fills up as time
passes could not say so: full at first, it lets twice its size through in its first minute.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

SLOTS = 60
"""A period is so many slots, and one more is remembered: the oldest counts until its last moment
is a period ago."""


class Window:
    """Amounts by the slot in which they were used. A slot is `time // (period // SLOTS)`.

    `used` is what counts at the slot that `expire` was called with last; call it before reading.
    Slots never go back: what is used in an earlier one than the latest counts in the latest.
    """

    __slots__ = ("entries", "used")

    SLOTS: ClassVar = SLOTS

    def __init__(self) -> None:
        self.entries: deque[list[int]] = deque()
        self.used = 0

    def expire(self, slot: int) -> None:
        """Forget what was used more than a period before this slot."""
        entries, oldest = self.entries, slot - SLOTS
        while entries and entries[0][0] < oldest:
            self.used -= entries.popleft()[1]

    def add(self, slot: int, amount: int) -> list[int]:
        """Count an amount; returns the entry that it is in, to be corrected later."""
        self.used += amount
        entries = self.entries
        if entries and entries[-1][0] >= slot:
            entry = entries[-1]
            entry[1] += amount
        else:
            entry = [slot, amount]
            entries.append(entry)
        return entry

    def correct(self, entry: list[int], slot: int, more: int) -> None:
        """Count more than was added with this entry, as used in this slot, or less, as never used.

        The slot of what was never used does not matter.
        """
        if more > 0:
            self.expire(slot)
            self.add(slot, more)
        elif self.entries and entry[0] >= self.entries[0][0]:
            entry[1] += more
            self.used += more

    def shift(self, slot: int, more: int) -> None:
        """Count more as used in this slot, or less of what was used latest, where that is known."""
        if more > 0:
            self.expire(slot)
            self.add(slot, more)
            return
        for entry in reversed(self.entries):
            left = entry[1] + more
            if left >= 0:
                entry[1] = left
                self.used += more
                return
            self.used -= entry[1]
            entry[1], more = 0, left

    def restart(self, slot: int, used: int) -> None:
        """Know nothing but a sum, as used in one slot."""
        self.entries.clear()
        self.used = used
        if used:
            self.entries.append([slot, used])

    def whole(self) -> int:
        """Return the slot in which nothing is used any more; 0 when that is now."""
        return self.entries[-1][0] + SLOTS + 1 if self.used else 0

    def falls(self, room: int) -> int:
        """Return the slot in which no more than `room` is used; 0 when that is now."""
        left, slot = self.used, 0
        for used_in, amount in self.entries:
            if left <= room:
                break
            left -= amount
            slot = used_in + SLOTS + 1
        return slot

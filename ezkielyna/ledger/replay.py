"""What a journal tells: which requests are open, ended, fixed in batches, acknowledged.

Whatever is damaged, every whole record before the damage counts, and the next segment is read from
its start. Reading the same bytes always gives the same story.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ezkielyna.ledger import encoding
from ezkielyna.ledger.record import UsageRecord
from ezkielyna.ledger.segments import Damage, records, segment_paths


@dataclass(slots=True)
class Story:
    """What a dead process left behind. `died_at` is in Unix seconds: when it last wrote."""

    died_at: float = 0.0
    requests: dict[str, UsageRecord] = field(default_factory=dict)
    batches: dict[int, tuple[float, list[str]]] = field(default_factory=dict)
    last_batch: int = 0
    sessions: set[str] = field(default_factory=set)
    damage: list[str] = field(default_factory=list)
    _told: dict[str, float] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def open(self) -> list[str]:
        """Return the requests that nothing is known of the end of."""
        return [r for r, record in self.requests.items() if record.ended_at is None]

    def end(self, request: str, payload: bytes) -> None:
        """Note an end that was written elsewhere and not here any more."""
        encoding.ended(self.requests[request], encoding.fields(payload))

    def close(self) -> None:
        """End the requests that were open when the process died, with what they delivered."""
        for record in self.requests.values():
            if record.ended_at is None:
                told = self._told.get(record.request_id, record.started_at)
                record.ended_at = max(told, self.died_at)
                record.outcome = "crashed"

    def rest(self) -> list[UsageRecord]:
        """Return the ended requests that are in no batch."""
        fixed = {request for _, requests in self.batches.values() for request in requests}
        return [r for request, r in self.requests.items() if request not in fixed]

    def told(self, payload: bytes) -> None:
        """Take one record in. Raises ValueError for what no version of ours has written."""
        kind, values = payload[:1], encoding.fields(payload)
        if kind == encoding.BEGIN:
            self._begun(values)
        elif kind == encoding.PROGRESS and values[0] in self.requests:
            record = self.requests[values[0]]
            self._told[values[0]] = encoding.progressed(record, values)
        elif kind == encoding.END and values[0] in self.requests:
            encoding.ended(self.requests[values[0]], values)
        elif kind == encoding.BATCH:
            self.batches[values[0]] = values[1], values[2]
            self.last_batch = max(self.last_batch, values[0])
        elif kind == encoding.ACK:
            self.last_batch = max(self.last_batch, values[0])
            for request in self.batches.pop(values[0], (0.0, []))[1]:
                self.requests.pop(request, None)
                self._known.add(request)
        elif kind == encoding.SESSION:
            self.sessions.add(values[0])
        elif kind == encoding.HEAD and values[0] != encoding.VERSION:
            raise ValueError(f"journal of version {values[0]}")

    def _begun(self, values: list[object]) -> None:
        """Take a BEGIN in; a second one is a copy that was carried forward."""
        record = encoding.begun(values)
        if record.request_id not in self._known:
            self.requests.setdefault(record.request_id, record)


def read(folder: Path) -> Story:
    """Read a process's journal; its open requests are not closed yet. Raises OSError."""
    story = Story()
    for path in segment_paths(folder):
        story.died_at = max(story.died_at, path.stat().st_mtime)
        try:
            for payload in records(path.read_bytes()):
                story.told(payload)
        except Damage as damage:
            story.damage.append(f"{path.name}: {damage}")
    return story

"""Which recordings were replayed: a table for the end of pytest's output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ezkielyna.testing.recordings import Recording

TABLE = "pairs by feature"
"""Name of the property under which a test records its table; the end of the output shows it."""

MOST_LEFT_OUT = 0.02
"""Share of all pairs of a folder, answers and requests together."""


class Tally:
    """What was replayed and what was left out, by id with the reason."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}
        """Pairs that are not replayed."""
        self.unsaid: dict[str, str] = {}
        """Pairs whose request OpenAI's dialect cannot say; their answers count."""
        self.wrong: list[str] = []

    def count(self, recording: Recording, *, request: bool) -> None:
        """Note a pair whose answer was compared, and its `request` too where that is true."""
        features = {*recording.covers, f"mode:{recording.mode}", recording.provider}
        self.answers.update(features)
        if request:
            self.requests.update(features)

    def check(self, every: Iterable[Recording]) -> None:
        """Assert that all was as recorded, and that hardly any of every folder was left out."""
        assert not self.wrong, f"{len(self.wrong)} differences:\n" + "\n".join(self.wrong)
        pairs = Counter(recording.provider.partition("/")[0] for recording in every)
        missing = Counter(name.partition("/")[0] for name in (*self.left_out, *self.unsaid))
        for folder, count in pairs.items():
            assert missing[folder] < count * MOST_LEFT_OUT, (folder, missing[folder], count)
        providers = {recording.provider for recording in every}
        replayed = sum(self.answers[provider] for provider in providers)
        assert replayed + len(self.left_out) == pairs.total()

    def table(self) -> str:
        """Return the pairs by feature, and by name what was left out and why."""
        rows = [f"{TABLE:44}{'answers':>9}{'requests':>9}"]
        for feature, count in sorted(self.answers.items()):
            rows.append(f"{feature:44}{count:9}{self.requests[feature]:9}")
        rows += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        rows += [f"left out, its request: {name}: {why}" for name, why in self.unsaid.items()]
        return "\n".join(rows)

"""A run from its first step to its last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ezkielyna.bench.crew import Crew
from ezkielyna.bench.report import Run, Step

Progress = Callable[[Step, int, int, int, int], None]
"""Hears the step, its round from 0, and how many requests ended, failed and are open."""


async def perform(run: Run, headers: Mapping[str, str], rounds: int, progress: Progress) -> None:
    """Do every step once a round, so that a slow minute of the machine hits all steps alike.

    `headers` go with every request; keys are in them, and nowhere else. Raises CrewFailed.
    """
    async with Crew(run.target, headers, run.seed, run.processes) as crew:
        for number in range(rounds):
            for step in run.steps:
                told = partial(progress, step, number)
                step.add(run.limits, await crew.run(step.load, told))

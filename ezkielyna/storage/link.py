"""What a driver of MongoDB has to offer beyond what all of them spell alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern


class Link(ABC):
    """The difference between the drivers: what one awaits and the other does not."""

    client: Any

    @abstractmethod
    async def start_session(self) -> Any:
        """Return a new session of the driver."""

    @abstractmethod
    async def start_transaction(
        self, session: Any, read_concern: ReadConcern, write_concern: WriteConcern
    ) -> None:
        """Start a transaction on the session."""

    @abstractmethod
    async def aggregate(self, collection: Any, pipeline: list[Any], **options: Any) -> Any:
        """Return a cursor over what the pipeline gives."""

    @abstractmethod
    async def watch(self, database: Any, pipeline: list[Any], **options: Any) -> Any:
        """Return a change stream that is open on the server."""

    @abstractmethod
    async def close(self) -> None:
        """Close the client."""

"""The skeleton of exchanges with upstreams that have a dialect of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import orjson

from ezkielyna.contract.errors import UpstreamError
from ezkielyna.contract.provider import Delivered, Exchange, Headers, UpstreamRequest
from ezkielyna.contract.usage import Usage
from ezkielyna.dialect.chat import Chat
from ezkielyna.dialect.failures import CUT, UNREADABLE, retry_after_s
from ezkielyna.dialect.reading import Json
from ezkielyna.dialect.telling import Style, Telling, shown_usage
from ezkielyna.wire.sse import Event, EventReader

_SENSELESS = (ValueError, LookupError, TypeError, AttributeError)
"""What reading an answer raises where it is not of the shape that it should have."""


class PlainExchange(Exchange):
    """One request whose answer is never streamed: embeddings, images.

    A subclass writes `translated` and `explained`.
    """

    def __init__(self, request: UpstreamRequest, dropped: tuple[str, ...] = ()) -> None:
        self.request = request
        self.dropped = dropped

    @staticmethod
    @abstractmethod
    def explained(document: Any, status: int, wait_s: float | None) -> UpstreamError | None:
        """Return the error that a document reports, whatever the document is.

        None where it reports no error and the status is 200. `status` is that of the answer, and
        `wait_s` what its headers ask to wait.
        """

    @abstractmethod
    def translated(self, document: Json) -> bytes:
        """Return the OpenAI-shaped body; raises UpstreamError where there is no answer in it.

        It may raise ValueError, LookupError, TypeError and AttributeError for what makes no sense.
        """

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the OpenAI-shaped body; raises UpstreamError where a 200 holds no answer."""
        try:
            document = orjson.loads(body)
            error = self.explained(document, status, None)
            if error is not None:
                raise error
            return self.translated(document)
        except _SENSELESS:
            raise UpstreamError(UNREADABLE) from None

    def failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error for another status than 200; the content type is not looked at."""
        try:
            document = orjson.loads(body.strip().removeprefix(b"data:"))
        except orjson.JSONDecodeError:
            document = None
        error = self.explained(document, status, retry_after_s(headers))
        return error or UpstreamError(UNREADABLE)

    def feed(self, data: bytes) -> bytes:
        """Raise UpstreamError: nothing is streamed here."""
        raise UpstreamError(UNREADABLE)

    def close(self) -> bytes:
        """Raise UpstreamError: nothing is streamed here."""
        raise UpstreamError(UNREADABLE)

    def delivered(self) -> Delivered:
        """Return nothing: a whole answer is delivered or it is not."""
        return Delivered()

    def progress(self) -> int:
        """Return 0: nothing is streamed here."""
        return 0


class ChatExchange(PlainExchange):
    """One chat or legacy completion, plain or streamed as server-sent events of JSON.

    A subclass writes `event`, `told` and `explained`. It tells what it reads by `self.telling`, and
    calls `end` when the upstream has said all: what comes after that is not read.
    """

    def __init__(self, request: UpstreamRequest, chat: Chat) -> None:
        super().__init__(request, tuple(chat.dropped))
        self.telling = Telling(Style.of(chat))
        self.ended = False
        self._usage: Usage | None = None
        self._reader = EventReader()
        self._error: UpstreamError | None = None

    @property
    def usage(self) -> Usage | None:
        """What the upstream reported so far; what was set, by the core for one, stays."""
        return self._usage if self._usage is not None else self.reported()

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._usage = usage

    def reported(self) -> Usage | None:
        """Return what the upstream reported so far, where `usage` was not set."""
        return None

    @abstractmethod
    def event(self, document: Json) -> None:
        """Tell one event of a stream.

        Raises UpstreamError for one that reports an error; may raise as `translated` does.
        """

    @abstractmethod
    def told(self, document: Json) -> None:
        """Tell a whole answer, finish reasons too; raises as `translated` does."""

    def finish(self) -> None:
        """Tell what is owed at the end of a stream that has no event for it.

        Raises UpstreamError where the stream ended too early.
        """
        raise UpstreamError(CUT)

    def translated(self, document: Json) -> bytes:
        """Return the whole answer with its usage."""
        self.told(document)
        return self.telling.whole(shown_usage(self.usage, self.price))

    def end(self) -> None:
        """Tell the usage and the end of a stream."""
        self.ended = True
        shown = None if self.usage is None else shown_usage(self.usage, self.price)
        self.telling.end(shown)

    def feed(self, data: bytes) -> bytes:
        """Return the chunks that these bytes complete.

        An error in the stream waits for the next call where something was told before it, so that
        the split of the input makes no difference.
        """
        if self._error is None:
            self._read(UNREADABLE, self._reader.feed, data)
        out = self.telling.take()
        if self._error is not None and not out:
            raise self._error
        return out

    def close(self) -> bytes:
        """Return what is owed: also an event without its blank line counts."""
        if self._error is None:
            self._read(CUT, self._reader.close)
        if self._error is None and not self.ended:
            self.finish()
        if self._error is not None:
            raise self._error
        return self.telling.take()

    def delivered(self) -> Delivered:
        """Return what was handed on so far."""
        return self.telling.delivered()

    def progress(self) -> int:
        """Return about how many tokens were handed on."""
        return self.telling.progress()

    def _read(self, fault: str, read: Callable[..., list[Event]], *data: bytes) -> None:
        """Tell the next events up to the end or the first error; senseless ones are the fault."""
        try:
            for event in read(*data):
                if self.ended:
                    return
                self.event(orjson.loads(event.data))
        except UpstreamError as error:
            self._error = error
        except _SENSELESS:
            self._error = UpstreamError(fault)

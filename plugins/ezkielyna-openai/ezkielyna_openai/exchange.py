"""One request to an OpenAI-compatible server, and the translation of its answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from ezkielyna import ApiRequest, Delivered, Exchange, Headers, UpstreamError, UpstreamRequest
from ezkielyna_openai import embeddings, failures, requests, usages
from ezkielyna_openai.delivery import FOLD_BYTES, Delivery
from ezkielyna_openai.documents import dumps, loads, null_usage, with_value, without_member
from ezkielyna_openai.lines import MAX_EVENT_BYTES, complete, payload
from ezkielyna_openai.repairs import Repairs

if TYPE_CHECKING:
    from ezkielyna_openai.provider import OpenAIProvider

DONE = b"data: [DONE]\n\n"

NOTHING = Delivered()

_END = b"\n\n"
_USAGE = re.compile(rb'"usage"(?!\s*:\s*null)')
_MARKS = (b'"error"', b"data: [DONE]")
SIFT_BYTES = 2048
CHUNK_BYTES = 300
MAX_SIFTED = 4
_SPACED = re.compile(rb'\s*\{\s*"\w+": ')
_COMMON = frozenset(("id", "object", "created", "model", "service_tier", "system_fingerprint"))
"""Members that a chunk of usage shares with the other chunks of its answer."""


class OpenAIExchange(Exchange):
    """Passes events through untouched, as whole ones, and looks only at those it has to.

    Three byte tests tell those: usage, errors, and what the server's repairs need. Line ends come
    out as `\\n`, comments are dropped, and an event becomes one line.
    """

    endless: ClassVar[frozenset[str]] = frozenset({"images.generations"})
    """Endpoints whose streams have named events and no `[DONE]`."""

    # How every answer begins; a plain one never needs more of it.
    _repairs: Repairs
    _triggers: tuple[bytes, ...] = ()
    _rest: list[bytes]
    _rest_size = _size = _events = _searched = _progress = 0
    _after_return = _done = _started = _named = _shows_usage = False
    _heedful = True  # look at every event: the first one, and those after the end
    _null = b""
    _owed: tuple[bytes, dict[str, Any]] | None = None
    _error: UpstreamError | None = None
    _delivery: Delivery
    _blocks: list[bytes]

    def __init__(self, provider: OpenAIProvider, request: ApiRequest, model: str) -> None:
        self.provider, preset = provider, provider.preset
        self.client_request = request
        url, body = provider.url(request.endpoint, model), requests.body(request, model, preset)
        self.request = UpstreamRequest("POST", url, provider.headers, body)
        streamed = request.streamed
        if streamed:
            self._repairs = Repairs(preset.repairs)
            self._shows_usage = request.wants_usage
            self._named = request.endpoint in self.endless
            self._triggers = provider.triggers
            self._rest = []
            self._delivery = Delivery(request.endpoint)
            self._blocks = self._delivery.blocks

    def feed(self, data: bytes) -> bytes:
        """Return whole events for these bytes; see `Exchange.feed`."""
        # `find`, not `in`: bytes.__contains__ first takes its argument for a number, and the
        # exception which that costs takes longer than the search.
        if self._after_return or data.find(b"\r") >= 0:
            data = self._normalised(data)
        whole = data if not self._rest and data.endswith(_END) else self._whole(data)
        if not whole:
            return b""
        if self._heedful:
            return self._sifted(whole)
        plain = self._passed_on(whole)
        return self._sifted(whole) if plain is None else plain

    def _passed_on(self, whole: bytes) -> bytes | None:
        """Return events that nobody needs to look at; None where some must be looked at."""
        plain = whole
        if whole.find(b'"usage"') >= 0:
            if not self._null:
                return None
            plain = whole.replace(self._null, b"")
            if plain.find(b'"usage"') >= 0:
                return None
            if self._shows_usage:
                plain = whole
        if whole.find(b'"error"') >= 0 or not whole.startswith(b"data: {"):
            return None
        for trigger in self._triggers:
            if whole.find(trigger) >= 0:
                return None
        events = 1
        if whole.find(b"\n") != len(whole) - 2:  # more than the one event of a paced stream
            events = whole.count(b"\n\ndata: {") + 1
            if whole.count(b"\n") != 2 * events:
                return None
        self._hand_on(plain, events)
        return plain

    def _sifted(self, whole: bytes) -> bytes:
        """Look at the few events that need it, and pass on the long runs between them."""
        if len(whole) < SIFT_BYTES:
            return self._read(whole)
        out: list[bytes] = []
        for _ in range(MAX_SIFTED):
            start = self._noteworthy(whole)
            plain = self._passed_on(whole[:start]) if start else b""
            if plain is None:
                break
            end = whole.find(_END, start) + len(_END)
            out.append(plain)
            out.append(self._read_after(whole[start:end], out))
            whole = whole[end:]
            if not whole or self._done or self._error is not None:
                return b"".join(out)
        out.append(self._read_after(whole, out))
        return b"".join(out)

    def _noteworthy(self, whole: bytes) -> int:
        """Return where the first event begins that must be looked at; the last one if none."""
        if self._heedful:
            return 0
        usage = _USAGE.search(whole) if self._null else None
        found = [whole.find(mark) for mark in (*_MARKS, *self._triggers)]
        if not self._null:
            found.append(whole.find(b'"usage"'))
        elif usage is not None:
            found.append(usage.start())
        first = min((at for at in found if at >= 0), default=len(whole) - len(_END) - 1)
        return whole.rfind(_END, 0, first) + len(_END) if whole.find(_END) < first else 0

    def _read_after(self, whole: bytes, out: list[bytes]) -> bytes:
        """Read events; their error waits for the next call where events were handed on before."""
        try:
            return self._read(whole)
        except UpstreamError:
            if any(out):
                return b""
            raise

    def close(self) -> bytes:
        """Return what is owed at the upstream's end; see `Exchange.close`."""
        out = b""
        if self._rest and not self._done and self._error is None:
            rest = b"".join(self._rest)
            self._rest.clear()
            if complete(rest):  # several servers end their last event without a blank line
                out = self._read(rest + _END)
        if self._error is not None:
            raise self._error
        if self._done:
            return out
        if self._named:
            if self.usage is None:
                raise UpstreamError("The upstream ended the stream before the image was complete.")
            return out
        if not self._delivery.finished:
            raise UpstreamError("The upstream ended the stream before the answer was complete.")
        return out + self._finish()

    def delivered(self) -> Delivered:
        """Return what was handed on; nothing for images, whose pieces are not texts."""
        return NOTHING if self._named or not self._events else self._delivery.delivered()

    def tidy(self) -> None:
        """Keep the texts of what was handed on, and let the bytes go."""
        if self._events:
            self._delivery.fold()
        self._size = 0
        self._searched = self._events

    def progress(self) -> int:
        """Return the chunks, or a quarter of the characters where these are more.

        What was not searched yet counts by its size, less what a chunk has around its text.
        """
        if not self._events:
            return 0
        unread = max(0, self._size - CHUNK_BYTES * (self._events - self._searched)) // 8
        estimate = max(self._events, self._delivery.characters // 4 + unread)
        self._progress = max(self._progress, estimate)
        return self._progress

    def _whole(self, data: bytes) -> bytes:
        """Return the bytes up to the last event boundary; keep the rest."""
        cut = data.rfind(_END)
        if cut < 0 and not (data[:1] == b"\n" and self._rest and self._rest[-1][-1:] == b"\n"):
            self._keep(data)
            return b""
        end = cut + 2 if cut >= 0 else 1
        whole = b"".join((*self._rest, data[:end]))
        self._rest.clear()
        self._rest_size = 0
        self._keep(data[end:])
        return whole

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._rest.append(data)
        self._rest_size += len(data)
        if self._rest_size > MAX_EVENT_BYTES:
            raise UpstreamError("The upstream sent an event that is too large.")

    def _normalised(self, data: bytes) -> bytes:
        """Return the data with `\\n` for every kind of line end, wherever it was cut."""
        if self._after_return and data:
            self._after_return = False
            data = data.removeprefix(b"\n")
        if b"\r" not in data:
            return data
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, whole: bytes) -> bytes:
        """Look at every event; the errors of one that follows others wait for the next call."""
        if self._error is not None:
            raise self._error
        if not self._started:
            self._started = True
            whole = whole.removeprefix(b"\xef\xbb\xbf")
        out: list[bytes] = []
        for block in whole.split(_END):
            if self._done:
                break
            try:
                event = self._event(block.strip(b"\n"))
            except UpstreamError as error:
                self._error = error
                break
            if event:
                out.append(event)
        written = b"".join(out)
        self._heedful = self._heedful or self._done or self._error is not None
        if written and not self._named:
            self._hand_on(written, written.count(_END))
        if self._error is not None and not written:
            raise self._error
        return written

    def _hand_on(self, written: bytes, events: int) -> None:
        self._events += events
        self._blocks.append(written)
        self._size += len(written)
        if self._size > FOLD_BYTES:
            self.tidy()

    def _event(self, block: bytes) -> bytes:
        """Return what becomes of one event; raises UpstreamError for one that reports an error."""
        name, data = payload(block)
        if not data:
            return b""
        if self._named:
            return self._image_event(name, data, block)
        if self._heedful:
            self._heedful = False
            if _SPACED.match(data):
                self._triggers = self.provider.spaced_triggers
        if data.strip() == b"[DONE]":
            return self._finish()
        if name == "error" or b'"error"' in data:
            self._check(name, data)
        if b'"usage"' in data or any(trigger in data for trigger in self._triggers):
            data = self._chunk(data)
        return b"data: " + data + _END if data else b""

    def _check(self, name: str, data: bytes) -> None:
        try:
            document = loads(data)
        except ValueError:
            document = data.decode("utf-8", "replace")
        if name == "error" or failures.is_error(document):
            raise self._reported(document)

    def _document(self, data: bytes) -> dict[str, Any]:
        try:
            document = loads(data)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise UpstreamError("The upstream sent an event that is no JSON object.")
        return document

    def _chunk(self, data: bytes) -> bytes:
        """Return a chunk without its usage, put right where the server's repairs say so."""
        document = self._document(data)
        if self._repairs.event(document):
            data = dumps(document)
        usage = usages.usage_in(document)
        if usage is not None:
            return self._collected(data, document, usage)
        if document.get("choices") == [] and self._repairs.drops_empty:
            return b""
        return self._without_null(data, document) if "usage" in document else data

    def _without_null(self, data: bytes, document: dict[str, Any]) -> bytes:
        """Return a chunk without its `usage` of null, which is only for clients that asked.

        The first such chunk shows how the server spells it; `feed` then needs no parse.
        """
        if not self._null:
            self._null = null_usage(data, document)
        if self._shows_usage:
            return data
        cut = data.replace(self._null, b"") if self._null else data
        return without_member(data, "usage", document) if b'"usage"' in cut else cut

    def _collected(self, data: bytes, document: dict[str, Any], usage: dict[str, Any]) -> bytes:
        """Keep the usage for the end, and return the chunk that it came on without it."""
        self.usage = usages.tokens_used(usage) or self.usage
        if "usage" in document and document.get("choices") == []:
            self._owed = (data, usage)
            return b""
        common = {name: value for name, value in document.items() if name in _COMMON}
        self._owed = (dumps({**common, "choices": []}), usage)
        groq = document.get("x_groq")
        if isinstance(groq, dict) and "usage" in groq:
            rest = dumps({name: value for name, value in groq.items() if name != "usage"})
            data = with_value(data, "x_groq", rest, document)
        if "usage" not in document:
            return data
        if self._shows_usage:
            return with_value(data, "usage", b"null", document)
        return without_member(data, "usage", loads(data))

    def _finish(self) -> bytes:
        """Return the usage chunk, where the client asked for it, and the end of the stream."""
        self._done = True
        if self._owed is None or not self._shows_usage:
            return DONE
        data, usage = self._owed
        shown = usages.shown(usage, self.usage, self.price)
        return b"data: " + with_value(data, "usage", shown, loads(data)) + _END + DONE

    def _image_event(self, name: str, data: bytes, block: bytes) -> bytes:
        """Return an image event byte for byte; a completed one carries the cost in its usage."""
        if name == "error" or b'"error"' in data:
            self._check(name, data)
        if not (name.endswith(".completed") or b'"usage"' in data):
            return block + _END
        document = self._document(data)
        usage = usages.usage_in(document)
        before = self.usage
        self.usage = usages.images_made(usage, 1)
        if usage is not None:
            shown = usages.shown(usage, self.usage, self.price)
            block = block.replace(data, with_value(data, "usage", shown, document))
        if before is not None:
            self.usage = usages.added(before, self.usage)
        return block + _END

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the body with the cost in its usage; see `Exchange.answer`."""
        try:
            document = loads(body)
        except ValueError:
            raise UpstreamError("The upstream's answer is not JSON.") from None
        if body.find(b'"error"') >= 0 and failures.is_error(document):
            raise self._reported(document)
        endpoint = self.client_request.endpoint
        images = endpoint == "images.generations"
        content = "choices" if endpoint in _CHOICES else "data"
        if not isinstance(document, dict) or not isinstance(document.get(content), list):
            raise UpstreamError("The upstream's answer has no content.")
        if self.provider.preset.repairs:
            body = self.provider.repairs.answer(body, document)
        usage = usages.usage_in(document)
        if images:
            self.usage = usages.images_made(usage, len(document["data"]))
            if usage is None or "total_tokens" not in usage:
                shown = usages.images_shown(self.usage, self.price)
                return with_value(body, "usage", shown, document)
        if endpoint == "embeddings":
            body = embeddings.encoded(self.client_request, document, body)
        if usage is None:
            return body
        if not images and (counted := usages.tokens_used(usage)) is not None:
            self.usage = counted
            return usages.with_cost(body, document, counted, self.price)
        return with_value(body, "usage", usages.shown(usage, self.usage, self.price), document)

    def failure(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """Return the error that this answer stands for; see `failures.py`."""
        return failures.failure(status, headers, body, self.provider.secret)

    def _reported(self, document: Any) -> UpstreamError:
        return failures.in_stream(document, self.provider.secret)


_CHOICES = frozenset(("chat.completions", "completions"))

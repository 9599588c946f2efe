"""Every error of the storage room, as one tree, and the one place that translates the driver's.

```
StorageError            anything the database or its driver refused
├── StorageAway         not reachable, too slow, or not the primary: the fault passes
├── Duplicate           a document with this unique value is already there
├── Conflict            another transaction was first; try again
├── Invalid             a document breaks the schema or cannot be stored
├── Missing             there is no such account, key or other document
├── Overdrawn           the money is not there, or not free
└── SchemaMismatch      the database was written by a newer or unknown version
```

No message holds an address, a password or a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo import errors as driver

DUPLICATE_KEY = frozenset({11000, 11001, 12582})
DOCUMENT_VALIDATION = 121
WRITE_CONFLICT = 112
AWAY = frozenset({50, 64, 89, 91, 189, 262, 10107, 11600, 11602, 13435, 13436})
"""MaxTimeMSExpired, WriteConcernFailed, and MongoDB's codes for a node that stops or stepped down:
https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml."""

TRANSIENT = "TransientTransactionError"
UNKNOWN_COMMIT = "UnknownTransactionCommitResult"


class StorageError(Exception):
    """The database or its driver refused. `labels` are MongoDB's error labels."""

    def __init__(self, message: str, *, labels: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.labels = labels

    @property
    def transient(self) -> bool:
        """True when the whole transaction may be tried again."""
        return TRANSIENT in self.labels

    @property
    def commit_unknown(self) -> bool:
        """True when nobody knows whether the commit took place; commit again to find out."""
        return UNKNOWN_COMMIT in self.labels


class StorageAway(StorageError):
    """The database cannot be reached, is too slow, or is not the primary. It may come back."""


class Duplicate(StorageError):
    """A document with this `_id` or other unique value is already there."""


class Conflict(StorageError):
    """Another transaction touched the same document first."""


class Invalid(StorageError):
    """A document breaks the collection's schema, or holds what BSON cannot store."""


class Missing(StorageError):
    """There is no such document; the message names what was looked for."""


class Overdrawn(StorageError):
    """A correction would take more than the account has free."""


class SchemaMismatch(StorageError):
    """The stored documents belong to a version that this one does not know."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise the driver's errors as errors of this tree; the driver's own is the cause."""
    try:
        yield
    except driver.PyMongoError as error:
        raise _translate(error) from error
    except (BSONError, OverflowError) as error:
        raise Invalid(f"the document cannot be stored: {error}") from error


def _translate(error: driver.PyMongoError) -> StorageError:
    labels = frozenset(
        label for label in (TRANSIENT, UNKNOWN_COMMIT) if error.has_error_label(label)
    )
    if isinstance(error, driver.ConnectionFailure | driver.ExecutionTimeout):
        return StorageAway("the database cannot be reached", labels=labels)
    if isinstance(error, driver.OperationFailure):
        return _refusal(_code(error), labels)
    if isinstance(error, driver.InvalidURI | driver.ConfigurationError):
        return StorageError(f"storage.url cannot be used: {error}")
    if isinstance(error, driver.DocumentTooLarge):
        return Invalid("the document is larger than the database takes")
    return StorageError(f"the database driver refused: {type(error).__name__}", labels=labels)


def _refusal(code: int | None, labels: frozenset[str]) -> StorageError:
    if code in DUPLICATE_KEY:
        return Duplicate("a document with this unique value is already there", labels=labels)
    if code == DOCUMENT_VALIDATION:
        return Invalid("a document breaks the schema of its collection", labels=labels)
    if code == WRITE_CONFLICT:
        return Conflict("another transaction was first", labels=labels | {TRANSIENT})
    if code in AWAY:
        return StorageAway("the database is stopping or too slow", labels=labels)
    return StorageError(f"the database refused: error {code}", labels=labels)


def _code(error: driver.OperationFailure) -> int | None:
    """Return the code of the first failed write of a bulk, else that of the command."""
    details = error.details or {}
    for failed in details.get("writeErrors", []):
        return int(failed["code"])
    for failed in details.get("writeConcernErrors", []):
        return int(failed["code"])
    return error.code

"""What a request executes is counted whole, and put down to the room that it is in."""

import json
import sys

from motor.core import AgnosticBase

from benchmarks.rooms import Counted, room, table
from ezkielyna.contract.money import checked
from ezkielyna.gateway.admission import Admission
from ezkielyna_openai.usages import tokens_used


def three_times() -> None:
    for _ in range(3):
        checked(1)


def test_calls_and_bytecodes_are_counted_by_function() -> None:
    before = sys.gettrace()
    with Counted() as once:
        three_times()
    with Counted() as again:
        three_times()
    sys.settrace(before)
    assert once.calls[checked.__code__] == 3
    assert once.calls[three_times.__code__] == 1
    assert once.bytecodes[checked.__code__] % 3 == 0 < once.bytecodes[checked.__code__]
    assert once.bytecodes == again.bytecodes, "one path has one count"


def test_a_function_is_in_the_folder_or_the_library_that_it_comes_from() -> None:
    assert room(checked.__code__) == "contract"
    assert room(Admission.permit.__code__) == "gateway"
    assert room(tokens_used.__code__) == "ezkielyna-openai"
    assert room(AgnosticBase.__eq__.__code__) == "motor"
    assert room(json.loads.__code__) == "Python's library"


def test_rooms_add_up_to_all() -> None:
    with Counted() as counted:
        three_times()
    told = table(counted, 1, functions=1)
    assert f"| `contract` | 3.0 | {counted.bytecodes[checked.__code__]} |" in told
    assert f"| all | {counted.calls.total()} | {counted.bytecodes.total()} | 100 % |" in told
    assert told.splitlines()[-1].endswith(("contract: checked", "three_times"))

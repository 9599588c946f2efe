"""Contract suites: subclass one in a test file, and two dozen tests hold your class to its word.

```python
from ezkielyna.testing import ProviderContract

class TestAcme(ProviderContract):
    provider = AcmeProvider
    streams = {"hello": HELLO_STREAM}
    answers = {"hello": HELLO_ANSWER}
```
"""

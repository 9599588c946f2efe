"""New plugins: packages written from templates, which install, test and serve as they are."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

FOLDER = Path(__file__).parent / "scaffolds"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

SUMMARIES = {
    "provider": "Provider: translates chats for an upstream with a dialect of its own",
    "limiter": "Rate limiter: fixed windows, counted in one process",
    "billing": "Billing policy: the catalogue's prices, at a discount by night",
    "payment": "Payment method: a bank transfer that is confirmed by a signed notification",
}
"""What each kind of package does, as it is written."""

CONFIGURATIONS = {
    "provider": '[providers.mine]\nkind = "$name"\nbase_url = "http://127.0.0.1:9001"\n\n'
    '[models.parrot]\nprovider = "mine"\ninput = 1\noutput = 2',
    "limiter": '[plans.default]\nlimiter = "$name"\nrpm = 60',
    "billing": '[billing.house]\nkind = "$name"\npercent = 50\nnight = [22, 6]\n\n'
    '[plans.default]\nbilling = "house"',
    "payment": '[payments.bank]\nkind = "$name"\npage = "https://bank.example/pay"\n'
    'webhook_secret = { env = "BANK_SECRET" }',
}


class Unscaffolded(ValueError):
    """The package cannot be written; the message says why."""


def write_plugin(name: str, kind: str, into: Path) -> list[Path]:
    """Write the package `ezkielyna-NAME` into a folder; return its files.

    Raises Unscaffolded for a name that no package can have, and where there is such a folder.
    """
    if not NAME.fullmatch(name):
        raise Unscaffolded(f"{name!r} is no name; use small letters, digits and hyphens")
    folder = into / f"ezkielyna-{name}"
    if folder.exists():
        raise Unscaffolded(f"{folder} is there already; choose another name, or remove it")
    module = name.replace("-", "_")
    words = {
        "name": name,
        "module": module,
        "class_": "".join(part.capitalize() for part in name.split("-")),
        "summary": SUMMARIES[kind],
        "configuration": Template(CONFIGURATIONS[kind]).substitute(name=name),
    }
    files = {
        "pyproject.toml": "shared/pyproject.toml",
        "README.md": "shared/README.md",
        f"ezkielyna_{module}.py": f"{kind}/module.py",
        f"tests/test_{module}.py": f"{kind}/test.py",
    }
    written = []
    for target, source in files.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template((FOLDER / f"{source}.tmpl").read_text()).substitute(words))
        written.append(path)
    return written

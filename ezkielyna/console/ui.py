"""Modules for templates: what more than one page shows, marked up in one place."""

from __future__ import annotations

from typing import Any

from tornado.escape import xhtml_escape
from tornado.web import UIModule

from ezkielyna.console.forgery import FIELD
from ezkielyna.storage.passwords import SHORTEST

ICONS = {
    "dot": "M8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
    "home": "M2.5 7.5 8 2.75l5.5 4.75V13h-4V9.5h-3V13h-4z",
    "key": "M10 2.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM7.5 8.5l-5 5V14h2v-1.5H6V11h1.5V9.5",
    "card": "M2 4h12v8.5H2zM2 6.75h12M4.5 10h3",
    "chart": "M2.5 2.5v11h11M5.5 11V8M8.5 11V4.5M11.5 11V6.5",
    "pulse": "M1.5 8.5H5L6.75 3.5l3 9L11.25 8.5h3.25",
    "list": "M5.5 4h8.5M5.5 8h8.5M5.5 12h8.5M2 4h.5M2 8h.5M2 12h.5",
    "cube": "M8 1.75 13.5 5v6L8 14.25 2.5 11V5zM2.5 5 8 8.25 13.5 5M8 8.25v6",
    "book": "M2.5 3h4A1.5 1.5 0 0 1 8 4.5V13a1.5 1.5 0 0 0-1.5-1.25h-4zM13.5 3h-4A1.5 1.5 0 0 0 8 "
    "4.5V13a1.5 1.5 0 0 1 1.5-1.25h4z",
    "play": "M4.5 2.75 12.5 8l-8 5.25z",
    "gear": "M8 5.75a2.25 2.25 0 1 0 0 4.5 2.25 2.25 0 0 0 0-4.5zM8 1.75v2M8 12.25v2M1.75 8h2M12.25"
    " 8h2M3.6 3.6 5 5M11 11l1.4 1.4M12.4 3.6 11 5M5 11l-1.4 1.4",
    "shield": "M8 1.75 13 3.5v4.25c0 3-2 5.25-5 6.5-3-1.25-5-3.5-5-6.5V3.5z",
    "theme": "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
    "copy": "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
    "good": "M3 8.5 6.5 12 13 4.5",
    "bad": "M8 4v5M8 11.5v.5M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5z",
    "note": "M8 7.5V12M8 4.5V5M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5z",
}
"""Outlines on a field of 16 by 16."""


class Csrf(UIModule):
    """The hidden field that every form which is posted holds."""

    def render(self) -> str:
        """Return the field."""
        return f'<input type="hidden" name="{FIELD}" value="{self.handler.csrf}">'  # type: ignore[attr-defined]


class Field(UIModule):
    """A labelled input; its hint and its error are linked to it by aria-describedby."""

    def render(
        self,
        name: str,
        label: str,
        *,
        kind: str = "text",
        value: str = "",
        hint: str = "",
        required: bool = True,
        identity: str = "",
        showable: bool = False,
        strength: bool = False,
        **attributes: Any,
    ) -> bytes:
        """Return the field; `showable` adds a button that shows what is typed as a password.

        `strength` adds a meter of it, which `strength.js` shows. `attributes` go onto the input,
        with `_` for `-`; None is left out.
        """
        error = self.handler.errors.get(name, "")  # type: ignore[attr-defined]
        return self.render_string(
            "modules/field.html",
            name=name,
            label=label,
            kind=kind,
            value=value,
            hint=hint,
            error=error,
            required=required,
            showable=showable,
            strength=strength,
            identity=identity or f"field-{name}",
            attributes={
                key.replace("_", "-"): text for key, text in attributes.items() if text is not None
            },
        )


class NewPassword(Field):
    """A field for a password that somebody chooses; the rule stands beside it."""

    def render(self, name: str, label: str) -> bytes:  # type: ignore[override]
        """Return the field."""
        return super().render(
            name,
            label,
            kind="password",
            hint=f"At least {SHORTEST} characters, hard to guess; a phrase of a few words is best.",
            autocomplete="new-password",
            minlength=str(SHORTEST),
            showable=True,
            strength=True,
        )


class Icon(UIModule):
    """A small drawing beside a word; hidden from screen readers."""

    def render(self, name: str) -> str:
        """Return the drawing."""
        return (
            '<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" '
            f'focusable="false"><path d="{ICONS[name]}"/></svg>'
        )


class Badge(UIModule):
    """A state as a word with a sign; `kind` is good, note, bad or plain."""

    def render(self, text: str, kind: str = "plain") -> bytes:
        """Return the badge."""
        return self.render_string("modules/badge.html", text=text, kind=kind)


class Copy(UIModule):
    """A button that copies the text of the element with this id; `copy.js` shows it."""

    def render(self, target: str, label: str = "Copy") -> bytes:
        """Return the button."""
        return self.render_string("modules/copy.html", target=target, label=label)


class Payments(UIModule):
    """A table of top-ups with their states."""

    def render(self, payments: Any) -> bytes:
        """Return the table."""
        return self.render_string("modules/payments.html", payments=payments)


class Entries(UIModule):
    """A table of lines of the ledger."""

    def render(self, entries: Any) -> bytes:
        """Return the table."""
        return self.render_string("modules/entries.html", entries=entries)


class Contact(UIModule):
    """A link to the operator: an e-mail address or a page."""

    def render(self, contact: str) -> str:
        """Return the link."""
        target = contact if contact.startswith("https://") else f"mailto:{contact}"
        return f'<a href="{xhtml_escape(target)}">{xhtml_escape(contact)}</a>'

"""The pages: what a browser sees.

```
application.py   the Tornado application, and `Console`: what pages may use
page.py          `Page` and `AccountPage`: headers, sessions, forms, errors; every handler is one
topic.py         what a file of handlers adds: routes and menu entries
plugin_pages.py  pages of plugins, in the same frame
forgery.py       which requests may change something
cookies.py       their names and attributes
formats.py       money, times and counts as people read them
ui.py            modules for templates: field, badge, icon, …
handlers/        one file a topic
templates/       one file a page; base.html is around all of them
static/          one stylesheet, small ES modules
```

To add a page:

1. A handler in `handlers/TOPIC.py`: a subclass of `AccountPage` (needs somebody who is logged in:
   `self.account`) or of `Page` (needs nobody). `get` and `post` are plain Tornado handlers; what
   they may use is in `self.console`. Answer with `self.render("TOPIC.html", title="…", …)`.
   After a POST say `self.flash("…")` and `self.redirect(…)` with status 303.
2. A template that extends `base.html` and fills the block `content`, beginning with its one `h1`.
   Forms hold `{% module Csrf() %}`; fields are `{% module Field("name", "Label", …) %}`, which
   links the error in `errors["name"]` by aria-describedby. Money is `{{ money(nano) }}`, a time
   `{% raw when(datetime) %}`. Lists of records are `<table class="cards">` whose cells carry
   `data-label`: below 640 px each row is a card.
3. `TOPIC = Topic(routes=…, menu=…)` at the file's end, and the file's name in
   `handlers/__init__.py`.
4. Behaviour in the browser is a module in `static/`, named by `scripts=("name.js",)` of `render`.
   There is no inline script and no inline style: the Content-Security-Policy refuses both.

`ezkielyna.testing.visitor` speaks to pages over HTTP; `ezkielyna.testing.browser` runs Chromium
and fails on console errors, refused content and accessibility violations.
"""

"""The pages a person sees: who do you want to be, what went wrong, and the way back by a form.

Plain HTML forms without JavaScript, so that a script, an old browser and a screen reader all can
sign in; the one script sends the form of a SAML answer, which has a button too. They say on every page
that nothing here is real. Styles are inline; nothing is fetched.
"""

from __future__ import annotations

import secrets

from flask import Response, make_response, render_template_string
from markupsafe import Markup

from devidp.faces import Face
from devidp.people import Person

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ground: #eef1f4; --card: #fff; --ink: #16202b; --soft: #566575;
  --line: #d5dce3; --accent: #0b6e6e; --note: #fff4d6; --note-ink: #5c4300; --note-line: #e9cf8a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #10161c; --card: #19222b; --ink: #e8eef3; --soft: #9fb0bf; --line: #33414e;
    --accent: #5cc8c2; --note: #332a10; --note-ink: #f3dc9d; --note-line: #5d4d1c; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--ground); color: var(--ink);
  font: 1rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { width: min(100%, 29rem); background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; padding: 1.75rem;
  box-shadow: 0 1px 2px rgb(0 0 0 / 6%), 0 12px 32px rgb(0 0 0 / 8%); }
h1 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 .35rem; }
p { margin: 0 0 1rem; color: var(--soft); white-space: pre-line; overflow-wrap: anywhere; }
.note { background: var(--note); color: var(--note-ink); border: 1px solid var(--note-line);
  border-radius: 9px; padding: .6rem .8rem; font-size: .9rem; margin: 0 0 1.25rem; white-space: normal; }
.people { display: grid; gap: .5rem; margin: 0 0 1rem; padding: 0; list-style: none; }
button { font: inherit; color: inherit; cursor: pointer; width: 100%; border-radius: 10px;
  border: 1px solid var(--line); background: transparent;
  transition: border-color .12s, background-color .12s; }
button:hover { border-color: var(--accent); background: color-mix(in srgb, var(--accent) 8%, transparent); }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.person { display: grid; grid-template-columns: 2.6rem 1fr; gap: 0 .8rem; text-align: left;
  padding: .65rem .8rem; }
.initials { grid-row: span 2; align-self: center; width: 2.6rem; height: 2.6rem; border-radius: 50%;
  display: grid; place-items: center; font-weight: 600; font-size: .9rem; color: var(--accent);
  border: 1.5px solid currentColor; }
.person strong { font-weight: 600; }
.person small { color: var(--soft); font-size: .875rem; }
.row { display: grid; grid-template-columns: 2.6rem 1fr auto; gap: 0 .8rem; align-items: center; margin: 0;
  padding: .65rem .8rem; border: 1px solid var(--line); border-radius: 10px; }
.row .initials { grid-row: auto; }
.row strong { display: block; font-weight: 600; }
.row small { color: var(--soft); font-size: .875rem; }
.row .off { color: var(--note-ink); font-weight: 600; }
.small { width: auto; padding: .35rem .8rem; }
a { color: var(--accent); }
a.row { display: block; text-decoration: none; }
a.row:hover { border-color: var(--accent); }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.addresses { margin: 0; padding: 0 0 0 1.1rem; color: var(--soft); font-size: .9rem; }
.cancel { padding: .6rem; color: var(--soft); }
code { font-size: .85em; overflow-wrap: anywhere; }
</style>
</head>
<body><main>{{ body }}</main></body>
</html>
"""

_CHOOSE = """
<p class="note"><strong>A pretend provider for development.</strong> It plays {{ face.label }}. Nobody here is
real, there are no passwords, and nothing is kept.</p>
<h1>Who do you want to be?</h1>
<p>You will go back to <code>{{ destination }}</code>.</p>
<form method="post" action="{{ action }}">
<ul class="people">
{%- for person in people %}
<li><button class="person" type="submit" name="person" value="{{ person.name }}">
<span class="initials" aria-hidden="true">{{ person.given_name[:1] }}{{ person.family_name[:1] }}</span>
<strong>{{ person.display_name }}</strong>
<small>{{ person.about }}{% if person.disabled %} This account is disabled.{% endif %}</small>
</button></li>
{%- endfor %}
</ul>
<button class="cancel" type="submit" name="person" value="">Cancel</button>
</form>
"""

_MESSAGE = """
<p class="note"><strong>A pretend provider for development.</strong> It plays {{ face.label }}.</p>
<h1>{{ title }}</h1>
<p>{{ text }}</p>
{%- if code %}<p><code>{{ code }}</code></p>{% endif %}
"""


_POST = """
<p class="note"><strong>A pretend provider for development.</strong> It plays {{ face.label }}.</p>
<h1>Going back</h1>
<p>You are on your way to <code>{{ action }}</code>.</p>
<form method="post" action="{{ action }}">
{%- for name, value in fields.items() %}
<input type="hidden" name="{{ name }}" value="{{ value }}">
{%- endfor %}
<button class="cancel" type="submit">Continue</button>
</form>
<script nonce="{{ nonce }}">document.forms[0].submit()</script>
"""


def framed(title: str, body: str, status: int, script: str = "") -> Response:
    response = make_response(render_template_string(_FRAME, title=title, body=Markup(body)), status)
    response.headers["Cache-Control"] = "no-store"
    # No form-action: browsers apply it to the redirect behind the form too, and would block the way back.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; {script}style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    )
    return response


def choose(face: Face, people: list[Person], *, action: str, destination: str) -> Response:
    body = render_template_string(_CHOOSE, face=face, people=people, action=action, destination=destination)
    return framed("Sign in (pretend provider)", body, 200)


def post(face: Face, action: str, fields: dict[str, str]) -> Response:
    """A form on its way to another site; without script, the person presses the button."""
    nonce = secrets.token_urlsafe(16)
    body = render_template_string(_POST, face=face, action=action, fields=fields, nonce=nonce)
    return framed("Going back (pretend provider)", body, 200, f"script-src 'nonce-{nonce}'; ")


def message(face: Face, title: str, text: str, *, code: str = "", status: int = 200) -> Response:
    body = render_template_string(_MESSAGE, face=face, title=title, text=text, code=code)
    return framed(title, body, status)

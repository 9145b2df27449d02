"""The pages of the directory: where everything is, and who works here, with a button for each account.

Plain HTML forms without JavaScript. Disabling somebody here is what an administrator does in the real
directory: it counts at once. Another site's page must not be able to press the button.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, make_response, redirect, render_template_string, request

from devidp import page
from devidp.faces import FACES
from devidp.state import State

_INDEX = """
<p class="note"><strong>A pretend provider for development.</strong> Nobody here is real, there are no
passwords, and nothing is kept.</p>
<h1>A pretend provider</h1>
<p>It signs people in as four vendors do, and keeps a directory of them.</p>
<ul class="people">
<li><a class="row" href="{{ people }}"><strong>Who works here</strong>
<small>Disable an account, or enable it again.</small></a></li>
</ul>
<p>For a relying party:</p>
<ul class="addresses">
{%- for label, url in addresses %}
<li>{{ label }}<br><code>{{ url }}</code></li>
{%- endfor %}
</ul>
"""

_PEOPLE = """
<p class="note"><strong>A pretend directory for development.</strong> Nobody here is real. What you change
counts at once: in the directory, and at the next sign-in.</p>
<h1>Who works here</h1>
<p>Disabling an account is what an administrator does when somebody leaves.
{%- if crowd %} There are {{ crowd }} generated people more.{% endif %}</p>
<ul class="people">
{%- for entry in entries %}
<li><form class="row" method="post" action="{{ action }}">
<span class="initials" aria-hidden="true">{{ entry.given_name[:1] }}{{ entry.family_name[:1] }}</span>
<span class="who"><strong>{{ entry.display_name }}</strong>
<small>{% if entry.disabled %}<span class="off">Disabled.</span>{% endif
%}{% if entry.locked %} <span class="off">Locked.</span>{% endif
%}{% if not entry.disabled and not entry.locked %}May sign in.{% endif %}</small></span>
<input type="hidden" name="name" value="{{ entry.name }}">
<button class="small" type="submit" name="change" value="{{ 'enable' if entry.disabled else 'disable' }}"
aria-label="{{ 'Enable' if entry.disabled else 'Disable' }} {{ entry.display_name }}">
{{- 'Enable' if entry.disabled else 'Disable' }}</button>
</form></li>
{%- endfor %}
</ul>
<p><a href="{{ index }}">Back</a></p>
"""


def add(app: Flask, state: State) -> None:
    app.add_url_rule("/people", "people", lambda: people(state), methods=["GET"])
    app.add_url_rule("/people", "people-change", lambda: change(state), methods=["POST"])


def index(state: State) -> Response:
    addresses = [(face.label, state.issuer(face)) for face in FACES.values()]
    addresses += [
        ("Microsoft Graph", f"{state.base}/graph"),
        ("PingOne API", f"{state.base}/pingone"),
        ("SCIM", f"{state.base}/scim/v2"),
    ]
    body = render_template_string(_INDEX, people=f"{request.script_root}/people", addresses=addresses)
    return page.framed("A pretend provider", body, 200)


def people(state: State) -> Response:
    entries = [state.population.named(row.name) for row in state.people.all()]
    crowd = len(state.population.live()) - len(entries)
    body = render_template_string(
        _PEOPLE,
        entries=entries,
        crowd=f"{crowd:,}" if crowd else "",
        action=f"{request.script_root}/people",
        index=f"{request.script_root}/",
    )
    return page.framed("Who works here (pretend provider)", body, 200)


def change(state: State) -> Response:
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc not in (request.host, urlsplit(state.base).netloc):
        return make_response("Another site's page cannot change who works here.", 403)
    entry = state.population.named(request.form.get("name", ""))
    wanted = request.form.get("change")
    if entry is None or wanted not in ("disable", "enable"):
        return make_response("There is nobody of that name, or nothing to do.", 400)
    state.population.set_disabled(entry, wanted == "disable")
    return make_response(redirect(f"{request.script_root}/people", 303))

"""Hostile responses by name: ATTACKS, and what is needed to make one.

In a test: `context = context_for(handle.state, "entra", recipe, sp)`, then `hostile(name, context)` for
the XML or `posted(name, context)` for the form's value. In a browser flow: the knob `saml.attack`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devidp import saml_xml as sx
from devidp.saml_attack import Attack, Context
from devidp.saml_attacks_content import CONTENT, of_victim
from devidp.saml_attacks_parser import PARSER, deflate_bomb
from devidp.saml_attacks_signature import SIGNATURE
from devidp.saml_attacks_wrapping import WRAPPING
from devidp.saml_faces import SAML_FACES
from devidp.saml_keys import stranger
from devidp.saml_response import Recipe, good
from devidp.saml_sps import ServiceProvider

if TYPE_CHECKING:
    from devidp.state import State

ATTACKS: dict[str, Attack] = {**WRAPPING, **PARSER, **SIGNATURE, **CONTENT}

__all__ = ["ATTACKS", "Attack", "Context", "context_for", "deflate_bomb", "hostile", "of_victim", "posted"]


def context_for(
    state: State,
    face: str,
    recipe: Recipe,
    sp: ServiceProvider | str,
    *,
    victim: str | None = None,
    other_face: str | None = None,
) -> Context:
    """The victim is Ada, who administers; Otto, if it is Ada who signs in."""
    wanted = good(state, face, victim or "ada", sp, recipe.in_response_to)
    if victim is None and wanted.name_id == recipe.name_id:
        wanted = good(state, face, "otto", sp, recipe.in_response_to)
    other = SAML_FACES[other_face or ("generic" if face != "generic" else "pingfederate")]
    return Context(
        recipe=recipe,
        victim=wanted,
        key=state.saml.rings[face].signing,
        other_issuer=other.issuer(state.base),
        other_key=state.saml.rings[other.name].signing,
        expired_key=stranger("devidp expired", "expired"),
    )


def hostile(name: str, context: Context) -> bytes:
    """The XML of an attack; where the attack is in the base64, that text."""
    made = ATTACKS[name].make(context)
    return made.encode() if isinstance(made, str) else made


def posted(name: str, context: Context) -> str:
    """What stands in the form's SAMLResponse."""
    made = ATTACKS[name].make(context)
    return made if isinstance(made, str) else sx.b64(made)

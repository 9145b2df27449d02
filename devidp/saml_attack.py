"""What an attack is, what it is given, and the pieces it is put together from.

Each attack changes one thing on an otherwise honest answer to a real request, so that whoever lets it
in did so for that one reason. Pieces are joined as text in canonical form: a signature made before
still holds wherever the piece now stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.saml_keys import SamlKey, stranger
from devidp.saml_response import Recipe, assertion, build, changed, unsigned
from devidp.saml_xml import DS, SAML, Element

#: What an attacker may add to a victim's name to get an account that is truly their own (row S13).
SUFFIX = ".evil.example"


@dataclass(frozen=True, kw_only=True)
class Context:
    """`recipe` is the honest answer about whoever signed in, `victim` that about whom they want to be.

    `key` signs for this provider; `other_key` and `other_issuer` belong to another provider that the
    service provider may trust as well.
    """

    recipe: Recipe
    victim: Recipe
    key: SamlKey
    other_issuer: str
    other_key: SamlKey
    expired_key: SamlKey

    def honest(self, **changes: Any) -> bytes:
        return build(replace(self.recipe, **changes), self.key)

    def evil(self, **changes: Any) -> Recipe:
        """The same answer about the victim, without a signature and under IDs of its own."""
        recipe = changed(self.recipe, self.victim)
        fresh = {"assertion_id": sx.new_id(), "response_id": sx.new_id(), "signed": "none"}
        return replace(recipe, **{**fresh, **changes})

    @property
    def foreign(self) -> SamlKey:
        return stranger("devidp foreign")


Make = Callable[[Context], bytes | str]


@dataclass(frozen=True)
class Attack:
    """`make` gives XML, or text where the attack is in the base64 itself.

    `case` is the row of the security cases. `own_name`: it would be no harm to accept this as exactly
    the person who sent it, value read whole; as anybody else it must never pass.
    """

    name: str
    case: str
    about: str
    make: Make
    own_name: bool = False


class Table(dict[str, Attack]):
    """Attacks by name. A function joins by decorator, and says what it is in its docstring."""

    def attack(self, case: str, *, own_name: bool = False) -> Callable[[Make], Make]:
        def join(make: Make) -> Make:
            name = make.__name__
            about = " ".join((make.__doc__ or "").split())
            self.row(Attack(name, case, about, make, own_name))
            return make

        return join

    def row(self, attack: Attack) -> None:
        if attack.name in self or not attack.about:
            raise ValueError(f"{attack.name}: its name must be new, and it must say what it does")
        self[attack.name] = attack


@dataclass
class Pieces:
    """An honest signed message, taken apart. `bare` is the signed element without its signature."""

    tree: Element
    signed: bytes
    bare: bytes
    signature: Element

    @classmethod
    def of(cls, context: Context, signed: str = "assertion") -> Pieces:
        tree = sx.own(context.honest(signed=signed, encrypt="none"))
        element = tree if signed == "response" else sx.need(tree, "Assertion")
        whole = sx.canonical(element)
        signature = sx.need(element, "Signature")
        alone = sx.own(sx.canonical(signature))
        sx.remove(signature)
        return cls(tree, whole, sx.canonical(element), alone)

    def signature_with(self, name: str | None = None) -> bytes:
        """The signature as text, with a hole at its end."""
        made = sx.own(sx.text_of(self.signature))
        if name is not None:
            made.append(sx.hole(name))
        return sx.canonical(made)


def envelope(recipe: Recipe, *names: str) -> Element:
    """The Response without its assertion, with holes where assertions go."""
    tree = unsigned(replace(recipe, with_assertion=False))
    for name in names:
        tree.append(sx.hole(name))
    return tree


def filled(tree: Element, **parts: bytes) -> bytes:
    """A part with holes stands before the parts that fill them."""
    return b"<?xml version='1.0' encoding='UTF-8'?>\n" + sx.spliced(tree, parts)


def evil_assertion(recipe: Recipe, *, after_issuer: str | None = None, last: str | None = None) -> bytes:
    made = assertion(recipe)
    if after_issuer is not None:
        sx.need(made, "Issuer").addnext(sx.hole(after_issuer))
    if last is not None:
        made.append(sx.hole(last))
    return sx.text_of(made)


def encrypted_assertion(recipe: Recipe, plain: bytes) -> bytes:
    """Anybody can make one: the certificate is in the service provider's metadata."""
    if recipe.encryption_certificate is None:
        raise ValueError("the service provider has no encryption certificate")
    wrapper = sx.root(SAML, "EncryptedAssertion", {"saml": SAML})
    wrapper.append(sx.hole("data"))
    return sx.spliced(wrapper, {"data": saml_sign.encrypted(plain, recipe.encryption_certificate)})


def digest_of(plain: bytes) -> str:
    """The DigestValue of an assertion as text."""
    made = sx.root(DS, "Signature", {"ds": DS})
    tree = sx.own(plain)
    node = saml_sign.sign_by_hand(tree, lambda _: b"")
    made.append(node)
    return sx.text(sx.need(made, "Signature/SignedInfo/Reference/DigestValue"))

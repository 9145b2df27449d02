"""How a person's groups are said: ids, names or DNs, few or too many, in the right type or a wrong one.

Pure: (face, person, what the knobs ask) -> claims to merge. Entra's limit of 200 is applied here, so
that anybody who is given 201 groups gets overage, not only the person made for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from devidp.people import Person, group_id
from devidp.settings import OTHER_TENANT_ID, TENANT_ID

if TYPE_CHECKING:
    from devidp.faces import Face

DN_SUFFIX = "OU=Groups,DC=contoso,DC=example"


def spelled(name: str, style: str) -> str:
    if style == "ids":
        return group_id(name)
    if style == "dn":
        return f"CN={name},{DN_SUFFIX}"
    if style == "netbios":
        return f"CONTOSO\\{name}"
    if style == "dns":
        return f"corp.contoso.example\\{name}"
    return name


def claims_for(
    face: Face,
    person: Person,
    *,
    shape: str | None = None,
    overage: str | None = None,
    style: str | None = None,
) -> dict[str, Any]:
    """The groups claim of this person at this face, or the markers that stand for it."""
    if style == "emit_as_roles":
        return {"roles": list(person.groups)} if person.groups else {}
    values = [spelled(name, style or face.group_style) for name in person.groups]
    if overage is None and face.group_limit is not None and len(values) > face.group_limit:
        overage = "claim_sources"
    if overage is not None:
        return _overage(overage, face, person, values)
    if shape is not None:
        return {} if shape == "absent" else {face.group_claim: _shaped(shape, values)}
    if not values and face.omits_empty_groups:
        return {}
    if len(values) == 1 and face.single_group_is_string:
        return {face.group_claim: values[0]}
    return {face.group_claim: values}


def _overage(kind: str, face: Face, person: Person, values: list[str]) -> dict[str, Any]:
    """Facts A15, A16. The URL is that of a service long shut: nobody should ever call it."""
    endpoint = f"https://graph.windows.net/{TENANT_ID}/users/{person.oid}/getMemberObjects"
    names = {"_claim_names": {face.group_claim: "src1"}}
    sources: dict[str, Any] = {"_claim_sources": {"src1": {"endpoint": endpoint}}}
    if kind == "names_only":
        return names
    if kind == "sources_only":
        return sources
    if kind == "hasgroups":
        return {"hasgroups": True}
    if kind == "hasgroups_string":
        return {"hasgroups": "true"}
    if kind == "partial":
        return {**names, **sources, face.group_claim: values[:5]}
    if kind == "inline":
        return {**names, "_claim_sources": {"src1": {"JWT": "e30.e30."}}}
    if kind == "evil_url":
        evil = f"http://169.254.169.254/{OTHER_TENANT_ID}/getMemberObjects"
        return {**names, "_claim_sources": {"src1": {"endpoint": evil}}}
    return {**names, **sources}


def _shaped(shape: str, values: list[str]) -> Any:
    shapes: dict[str, Any] = {
        "string": values[0] if values else "",
        "json_string": json.dumps(values),
        "comma_string": ",".join(values),
        "number": 7,
        "numbers": [1, 2, 3],
        "nested": [values],
        "mixed": [*values, None, 7, {"value": "airflow_prod_admin"}],
        "object": dict.fromkeys(values, True),
        "null": None,
        "true": True,
        "empty": [],
        "duplicates": [*values, *values],
        # Cyrillic a, zero-width space, full-width letters: none of them is the group they look like.
        "lookalike": ["\u0430irflow_prod_admin", "airflow_prod_admin\u200b", "\uff41irflow_prod_admin"],
    }
    if shape == "ten_thousand":
        return [f"{n:08x}-0000-4000-8000-000000000000" for n in range(10_000)]
    return shapes[shape]

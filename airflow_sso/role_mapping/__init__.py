"""Which roles a person gets, and why: (Identity, rules) -> RoleDecision.

``written`` is what may stand in the mapping file, ``understanding`` compiles it to ``rules`` over
``conditions``, ``decide`` applies them, ``require`` says what must hold of the sign-in itself; which mapping
is in force is found in :mod:`airflow_sso.in_force`. What must stay true: deciding is pure, and there is no
second place that gives a role.
"""

from airflow_sso.role_mapping.conditions import Facts
from airflow_sso.role_mapping.decide import Joined, Match, RoleDecision, decide, decide_by_facts, joined
from airflow_sso.role_mapping.rules import BUILT_IN_ROLES, Mapping, OwnedRole, Rule, compile_rules
from airflow_sso.role_mapping.understanding import understand
from airflow_sso.role_mapping.values import comparable

__all__ = [
    "BUILT_IN_ROLES",
    "Facts",
    "Joined",
    "Mapping",
    "Match",
    "OwnedRole",
    "RoleDecision",
    "Rule",
    "comparable",
    "compile_rules",
    "decide",
    "decide_by_facts",
    "joined",
    "understand",
]

"""Which roles a person gets, and why: (Identity, rules) -> RoleDecision.

``rules`` is the language of the mapping file, ``decide`` applies it, ``mapping_file`` keeps the file
in force. What must stay true: deciding is pure, and there is no second place that gives a role.
"""

from airflow_sso.role_mapping.decide import Facts, Match, RoleDecision, decide, decide_by_facts, joined
from airflow_sso.role_mapping.mapping_file import MappingFile
from airflow_sso.role_mapping.rules import Mapping, OwnedRole

__all__ = [
    "Facts",
    "Mapping",
    "MappingFile",
    "Match",
    "OwnedRole",
    "RoleDecision",
    "decide",
    "decide_by_facts",
    "joined",
]

"""What ``read``, ``edit``, ``delete`` and ``trigger`` of some DAGs are in Airflow's own permissions.

Airflow asks for two things before it shows a DAG's run, task or log: the permission on that kind of thing
in general, and the one on the DAG. So each word gives both. What must stay true: what is given in general
opens nothing without a DAG of one's own; no word gives ``DAGs`` itself, which is every DAG.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from airflow_sso.airflow_compat import LINE
from airflow_sso.role_mapping import OwnedRole

#: An action on a resource, as Airflow names both: ``("can_read", "DAG Runs")``.
Permission = tuple[str, str]

_DAG, _RUN, _TASK_INSTANCE = "DAGs", "DAG Runs", "Task Instances"
#: What belongs to a DAG, as Viewer may see it. Assets, pools and the like are no DAG's, and not here.
_PARTS_OF_A_DAG = (
    _RUN,
    _TASK_INSTANCE,
    "Task Logs",
    "XComs",
    "DAG Code",
    "DAG Warnings",
    *LINE.parts_of_a_dag,
)
_SEEING: frozenset[Permission] = frozenset(
    {("menu_access", _DAG), *(("can_read", part) for part in _PARTS_OF_A_DAG)}
)
#: Of each word, what it gives in general. Each includes seeing: nobody does anything to a DAG unseen.
_IN_GENERAL: dict[str, frozenset[Permission]] = {
    "read": _SEEING,
    # Clearing and marking; Airflow knows both only in general, and asks for the DAG beside.
    "edit": _SEEING | {("can_edit", _RUN), ("can_edit", _TASK_INSTANCE)},
    "delete": _SEEING,
    "trigger": _SEEING,
}
#: Of each word, what it gives on the DAG (``DAG:<id>``) and on its runs (``DAG Run:<id>``).
_ON_THE_DAG: dict[str, frozenset[Permission]] = {
    "read": frozenset({("can_read", _DAG)}),
    "edit": frozenset({("can_read", _DAG), ("can_edit", _DAG)}),
    # The DAG with all its runs; one run alone takes edit as well.
    "delete": frozenset({("can_read", _DAG), ("can_delete", _DAG), ("can_delete", _RUN)}),
    # To make a run counts as a change of the DAG, so that this word lets it be paused too.
    "trigger": frozenset({("can_read", _DAG), ("can_edit", _DAG), ("can_create", _RUN)}),
}


def in_general(role: OwnedRole) -> Iterator[Permission]:
    """What a role has beside what it has on each DAG: what the file lists, and what its words need.

    ``can_read`` on ``Website`` is everybody's: Airflow gives it to every role at each start.
    """
    yield ("can_read", "Website")
    yield from role.permissions
    for _pattern, words in role.dags:
        for word in words:
            yield from _IN_GENERAL.get(word, ())


class DagAccess:
    """The permissions on single DAGs, of those that exist.

    :param dag_ids: every DAG that exists.
    :param named: Airflow's name of a DAG's part: :func:`~airflow_sso.airflow_compat.dag_resource_name`.
    """

    def __init__(self, dag_ids: Collection[str], named: Callable[[str, str], str]) -> None:
        self._dag_ids = dag_ids
        self._named = named
        self._found: dict[str, list[str]] = {}

    def of(self, role: OwnedRole) -> Iterator[Permission]:
        """What a role has on each DAG of its patterns; a word that is not known gives nothing."""
        for pattern, words in role.dags:
            wanted = {each for word in words for each in _ON_THE_DAG.get(word, ())}
            for dag_id in self._matching(pattern):
                for action, kind in wanted:
                    yield (action, self._named(dag_id, kind))

    def _matching(self, pattern: str) -> list[str]:
        if pattern not in self._found:
            self._found[pattern] = [dag_id for dag_id in self._dag_ids if matches(pattern, dag_id)]
        return self._found[pattern]


def matches(pattern: str, dag_id: str) -> bool:
    """Whether a whole DAG id is what the pattern says; ``*`` is any text, everything else is itself.

    No regular expression: one with many stars would try for ever on an id that does not match.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return dag_id == pattern
    if not dag_id.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = dag_id.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(dag_id) - at >= len(rest[-1]) and dag_id.endswith(rest[-1])

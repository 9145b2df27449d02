"""The words for who says that an account is shut: they are kept in the database and compared there.

Pure. What must stay true: a plan and whoever carries it out use the same ones, or what was said once would
be taken for something new at each reading.
"""

from __future__ import annotations

DIRECTORY = "directory"
PUSH = "push"
OPERATOR = "operator"
#: An operator's word, where nobody said it to us.
BY_ANOTHER_HAND = "deactivated by another hand than airflow-sso's"
#: Characters that are kept of a reason.
LONGEST_REASON = 250

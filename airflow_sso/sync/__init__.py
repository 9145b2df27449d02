"""What is done about what a directory says: a plan, guarded, then carried out, on a schedule.

``run`` is one run on one screen: read, plan, guard, apply. What must stay true: no failure takes anyone's
access or gives any, and what cannot be told apart from a mistake waits for a person.
"""

"""Who the identity provider says exists: readers of directories, each behind the same small protocol.

``snapshot`` is what crosses to the rest; one module a directory; ``readers`` is their table. What must
stay true: a reading is whole or it is an exception, and this room changes nothing anywhere.
"""

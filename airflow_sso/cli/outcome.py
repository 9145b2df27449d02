"""The exit codes of every command, spelled once."""

OK = 0
FINDINGS = 1
WRONG_USE = 2
NOT_FOUND = 3
UNREACHABLE = 4
QUARANTINED = 5

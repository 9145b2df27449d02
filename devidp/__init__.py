"""A pretend OpenID Connect provider for `make demo` and for the tests; never part of the wheel.

It is strict by default, as real providers are, and misbehaves only when a knob asks it to.
It holds no real secret, keeps nothing on disk, and must never be reachable from another machine.
"""

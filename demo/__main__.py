"""`python -m demo`, which is what `make demo` runs."""

from demo.run import main

raise SystemExit(main())

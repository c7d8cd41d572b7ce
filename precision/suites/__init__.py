"""The built-in suites: one module each, with its cases in `CASES`."""

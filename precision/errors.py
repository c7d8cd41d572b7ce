"""The two kinds of failure: what the user can mend, and what a cell met while it ran."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or usage: one line that says the rule, what was given and the mend (exit status 2)."""


class CannotRun(Exception):
    """This machine cannot run this mode; the message says why (the mode becomes `not run`)."""

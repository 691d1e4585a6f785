"""Tells whether MiniStack is still the one that this folder was written for.

A patch that no longer meets what it replaces would not fail, it would silently
lie: a test would then pass on a Step Functions that does not exist. So each
function that is wrapped or replaced is known by a fingerprint of its source, and
each one that is only called by the names of its parameters.
"""

import hashlib
import importlib
import inspect


def fingerprint(function):
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]


def missing(needs):
    """What is not as needed, one line each.

    A need is `module.name` and, of a function, its fingerprint or its
    parameters as `(a, b)`; of anything else, nothing.
    """
    lines = []
    for path, wanted in sorted(needs.items()):
        module, name = path.split(".")
        try:
            found = getattr(importlib.import_module(f"ministack.services.{module}"), name)
        except (ImportError, AttributeError):
            lines.append(f"{path} is not there")
            continue
        if not wanted:
            continue
        if not inspect.isfunction(found):
            lines.append(f"{path} is no function")
        elif wanted.startswith("("):
            given = "(" + ", ".join(inspect.signature(found).parameters) + ")"
            if given != wanted:
                lines.append(f"{path} takes {given}, not {wanted}")
        elif fingerprint(found) != wanted:
            lines.append(f"{path} has changed: its fingerprint is {fingerprint(found)}, not {wanted}")
    return lines

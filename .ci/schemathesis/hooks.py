"""Tells schemathesis how to send media types that it does not know, and works around a fault of CPython 3.11."""

import ast
import json
import threading

import schemathesis

_parse = ast.parse
_parsing = threading.RLock()


def parse(*args, **kwargs):
    """Parses Python source like `ast.parse`, by one thread at a time, and once more if CPython miscounted.

    CPython 3.11 counts the depth of a syntax tree for all threads together (python/cpython#106905). While a second
    thread parses, the count is wrong, and a SystemError is raised although the source is correct. Hypothesis parses
    the source of functions while it generates requests, so the error would end the run.
    """
    with _parsing:
        for _ in range(9):
            try:
                return _parse(*args, **kwargs)
            except SystemError as error:
                if "recursion depth mismatch" not in str(error):
                    raise
        return _parse(*args, **kwargs)


ast.parse = parse


@schemathesis.serializer("message/rfc822")
def mail(ctx, value):
    """Sends an email as the text that was generated. Sends any other value as JSON, which is not a valid email."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode("utf-8", "replace")


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """Sends a text as the lines that were generated. Sends any other value as one line of JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode("utf-8", "replace")

"""Tells schemathesis how to send media types that it does not know."""

import json

import schemathesis


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

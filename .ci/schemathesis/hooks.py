"""How schemathesis sends the media types that it does not know."""

import json

import schemathesis


@schemathesis.serializer("message/rfc822")
def mail(ctx, value):
    """A mail is sent as the text that was generated; what is no text is sent as JSON, which is no mail."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.encode("utf-8", "replace")

"""How schemathesis sends the media types that it does not know."""

import schemathesis


@schemathesis.serializer("message/rfc822")
def mail(ctx, value):
    """A mail is sent as the text that was generated."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else value

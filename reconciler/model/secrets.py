"""What in a text is a secret. Imports nothing of ours.

In: lines and values of a user's files.  Out: the same, safe for a message, a log and an event. Each character of a
secret becomes a star, so that columns stay true.
"""

import re

# user:password@ in front of a host; the second form is a password with a slash in it, which is no port number.
_USERINFO = re.compile(r"(?<=://)(?:[^/\s?#]*|[^/\s?#:@]*:(?![0-9]{1,5}[/?#])[^\s@]*)(?=@)")
_PARAMETER = re.compile(r"([?&][^=\s&?]*=)([^&\s\"']+)")
_SECRET = re.compile(r"token|secret|signature|password|credential|key|sig=", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` with the credentials of every URL in it (user:password@, signed query parameters) replaced by stars."""
    if "://" not in text:
        return text
    text = _USERINFO.sub(lambda found: "*" * len(found[0]), text)
    return _PARAMETER.sub(lambda found: found[1] + "*" * len(found[2]) if _SECRET.search(found[1]) else found[0], text)

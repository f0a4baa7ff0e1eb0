"""Addresses without the user name and password in them, for messages."""

import re

LOGIN = re.compile(r"(?<=://)[^/@\s']+@")


def without_logins(text: str) -> str:
    """The text with `***` in place of the login of every address.

    Examples:
        >>> without_logins("cannot reach https://me:secret@host/x")
        'cannot reach https://***@host/x'
    """
    return LOGIN.sub("***@", text)

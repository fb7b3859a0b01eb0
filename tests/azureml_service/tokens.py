"""Tokens without a signature: the emulator's clients make them, its service reads their times."""

from __future__ import annotations

import base64
import json
import time


def make_token(audience: str, seconds: float = 3600) -> str:
    """Return a token for an audience, which expires after some seconds."""
    claims = {
        "aud": audience, "tid": "emulator", "oid": "emulator", "upn": "user@emulator.test",
        "exp": int(time.time() + seconds),
    }  # fmt: skip
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    texts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts]
    return b".".join([*texts, b"c2ln"]).decode()


def is_valid(header: str) -> bool:
    """Return whether a header ``Authorization`` has a bearer token that has not expired."""
    kind, _, token = header.partition(" ")
    parts = token.split(".")
    if kind != "Bearer" or len(parts) != 3:
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        return float(claims["exp"]) > time.time()
    except (ValueError, KeyError):
        return False

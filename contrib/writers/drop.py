#!/usr/bin/env python3
"""Drops one contact: drop.py EMAIL [FIRST_NAME [LAST_NAME]]; or import drop() from it."""
import json
import os
import sys
import tempfile
import uuid

INBOX = os.environ.get("MAILCHUTE_INBOX", "/var/spool/mailchute/inbox")


def drop(contact, inbox=INBOX):
    """Writes a contact, a dict of field names and values, whole or not at all."""
    # A hidden name first: mailchute never looks at it.
    handle, hidden = tempfile.mkstemp(prefix=".", suffix=".json", dir=inbox)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(contact, out)
        out.flush()
        os.fsync(out.fileno())
    os.chmod(hidden, 0o640)
    os.rename(hidden, os.path.join(inbox, f"contact-{uuid.uuid4()}.json"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: drop.py EMAIL [FIRST_NAME [LAST_NAME]]")
    drop(dict(zip(["email", "first_name", "last_name"], sys.argv[1:])))

//! Loop 1: from a file in a folder to rows in the outbox.

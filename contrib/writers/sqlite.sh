#!/bin/sh
# Drops a table's people: sqlite.sh DATABASE. For cron; people whom mailchute has delivered before cost no call.
set -eu
inbox=${MAILCHUTE_INBOX:-/var/spool/mailchute/inbox}
query=${MAILCHUTE_QUERY:-SELECT email, first_name, last_name FROM subscribers}
hidden=$(mktemp "$inbox/.sqlite.XXXXXXXX")
trap 'rm -f "$hidden"' EXIT
sqlite3 -readonly -bail -csv -header "$1" "$query" > "$hidden"
chmod 640 "$hidden"
# Only a query that ran to its end is shown.
mv "$hidden" "$inbox/sqlite-$(date +%Y%m%dT%H%M%S)-$$.csv"
trap - EXIT

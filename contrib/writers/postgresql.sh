#!/bin/sh
# Drops a table's people: postgresql.sh [psql's connection options]. For cron; who was delivered before costs no call.
set -eu
inbox=${MAILCHUTE_INBOX:-/var/spool/mailchute/inbox}
query=${MAILCHUTE_QUERY:-SELECT email, first_name, last_name FROM subscribers}
hidden=$(mktemp "$inbox/.postgresql.XXXXXXXX")
trap 'rm -f "$hidden"' EXIT
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 "$@" \
    --command="COPY ($query) TO STDOUT WITH (FORMAT csv, HEADER)" > "$hidden"
chmod 640 "$hidden"
# Only a query that ran to its end is shown.
mv "$hidden" "$inbox/postgresql-$(date +%Y%m%dT%H%M%S)-$$.csv"
trap - EXIT

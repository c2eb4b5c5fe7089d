#!/bin/sh
# Drops a table's people: mysql.sh [the mysql client's connection options]. For MySQL and MariaDB, from cron.
# Each row is a JSON object: the client's own tables do not quote what stands in a cell.
set -eu
inbox=${MAILCHUTE_INBOX:-/var/spool/mailchute/inbox}
query=${MAILCHUTE_QUERY:-"SELECT JSON_OBJECT('email', email, 'first_name', first_name, 'last_name', last_name) FROM subscribers"}
hidden=$(mktemp "$inbox/.mysql.XXXXXXXX")
trap 'rm -f "$hidden"' EXIT
mysql "$@" --default-character-set=utf8mb4 --batch --raw --skip-column-names --execute="$query" > "$hidden"
chmod 640 "$hidden"
# Only a query that ran to its end is shown.
mv "$hidden" "$inbox/mysql-$(date +%Y%m%dT%H%M%S)-$$.jsonl"
trap - EXIT

#!/bin/sh
# Drops one contact: drop.sh EMAIL [FIRST_NAME [LAST_NAME]]
# MAILCHUTE_INBOX names the folder, or a sub-folder of it that has a [[route]] of its own.
set -eu
inbox=${MAILCHUTE_INBOX:-/var/spool/mailchute/inbox}
[ $# -ge 1 ] || { echo "usage: drop.sh EMAIL [FIRST_NAME [LAST_NAME]]" >&2; exit 2; }

# A cell in quotes may hold anything; a quote in it is written twice.
cell() { printf '"%s"' "$(printf %s "$1" | sed 's/"/""/g')"; }

# A hidden name first: mailchute never looks at it. The rename shows the file whole, or not at all.
hidden=$(mktemp "$inbox/.drop.XXXXXXXX")
trap 'rm -f "$hidden"' EXIT
{
    echo email,first_name,last_name
    printf '%s,%s,%s\n' "$(cell "$1")" "$(cell "${2-}")" "$(cell "${3-}")"
} > "$hidden"
chmod 640 "$hidden"
mv "$hidden" "$inbox/contact-$(date +%Y%m%dT%H%M%S)-$$.csv"
trap - EXIT

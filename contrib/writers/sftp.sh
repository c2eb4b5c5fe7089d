#!/bin/sh
# Uploads one file: sftp.sh FILE INBOX [sftp's options and host]. scp alone would show half a file under its final name.
set -eu
file=$1 inbox=$2 name=$(basename "$1")
shift 2
# The end .part tells mailchute to leave it alone; the rename shows it whole.
sftp -b - "$@" <<EOF
put "$file" "$inbox/$name.part"
rename "$inbox/$name.part" "$inbox/$name"
EOF

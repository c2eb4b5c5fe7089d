#!/bin/sh
# Moves finished files to another machine's inbox: rsync.sh FOLDER/ [HOST:]INBOX/
# rsync writes each file under a hidden name and renames it when it is whole. Never add --inplace or --append: they write
# under the final name.
set -eu
exec rsync --recursive --times --chmod=F640 --remove-source-files --exclude='.*' --exclude='*.part' --exclude='*.tmp' "$1" "$2"

#!/bin/sh
# Copies a gateway's data directory while the gateway works: databases in one piece, then the objects. Run it again into the same
# directory: only what is new is copied. Embedded SQLite databases only; on PostgreSQL use pg_dump for the two databases, then this.
# The order matters: an object without a row is adopted at the next start, a row without its object would be a loss.
# Usage: deploy/backup.sh DATA-DIRECTORY BACKUP-DIRECTORY
set -eu
data=$1
backup=$2
[ -d "$data/spool" ] || { echo "$data is no data directory of a gateway (it has no spool)" >&2; exit 2; }
umask 077
mkdir -p "$backup/keys"
cp -p "$data"/keys/* "$backup/keys/"
for name in ledger.db store.db audit.db; do
  [ -e "$data/$name" ] || continue
  rm -f "$backup/$name.new"
  # SQLite's own online copy: consistent, and the gateway goes on writing.
  python3 - "$data/$name" "$backup/$name.new" <<'END'
import sqlite3, sys
with sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True) as source, sqlite3.connect(sys.argv[2]) as copy:
    source.backup(copy)
    copy.execute("PRAGMA journal_mode=DELETE")
    (verdict,) = copy.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        sys.exit(f"{sys.argv[1]}: the copy is damaged: {verdict}")
END
  mv "$backup/$name.new" "$backup/$name"
done
# The versions of the mappings: the ledger says which one is in force, and the gateway does not start without it.
[ ! -d "$data/mapping-versions" ] || cp -au "$data/mapping-versions" "$backup/"
# Files are never changed once they have their name. What is half received (incoming) was never acknowledged.
mkdir -p "$backup/spool"
for part in "$data"/spool/*; do
  [ "$(basename "$part")" = incoming ] || cp -au "$part" "$backup/spool/"
done
sync "$backup"
echo "$backup: $(du -sh "$backup" | cut -f1)"

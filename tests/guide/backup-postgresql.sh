# Backup
pg_dump -h postgres -U schemaregistry schemaregistry > schemas-backup.sql

# Restore
psql -h postgres -U schemaregistry schemaregistry < schemas-backup.sql

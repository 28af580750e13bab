# Backup
mysqldump -h mysql -u schemaregistry -p schemaregistry > schemas-backup.sql

# Restore
mysql -h mysql -u schemaregistry -p schemaregistry < schemas-backup.sql

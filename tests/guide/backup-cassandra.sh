# Backup using nodetool snapshot
nodetool snapshot -t schema_registry_backup schema_registry

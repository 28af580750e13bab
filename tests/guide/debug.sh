# PostgreSQL
psql -h postgres -U schemaregistry -d schemaregistry -c "SELECT 1"

# MySQL
mysql -h mysql -u schemaregistry -p -e "SELECT 1"

# Cassandra
cqlsh cassandra -u schemaregistry -p password -e "SELECT * FROM schema_registry.schemas LIMIT 1"

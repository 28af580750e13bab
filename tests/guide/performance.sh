# Check metrics
curl http://schema-registry:8081/metrics | grep duration

# Check database performance
# PostgreSQL
SELECT * FROM pg_stat_activity WHERE datname = 'schemaregistry';

# Check connection pool
curl http://schema-registry:8081/metrics | grep connections

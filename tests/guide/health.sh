# Basic health check
curl http://schema-registry:8081/
# Response: {}

# With authentication
curl -u admin:password http://schema-registry:8081/

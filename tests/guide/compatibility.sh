# Get global compatibility level
curl http://schema-registry:8081/config
# Response: {"compatibilityLevel": "BACKWARD"}

# Set global compatibility
curl -X PUT \
  -H "Content-Type: application/vnd.schemaregistry.v1+json" \
  -d '{"compatibility": "FULL"}' \
  http://schema-registry:8081/config

# Set subject-level compatibility
curl -X PUT \
  -H "Content-Type: application/vnd.schemaregistry.v1+json" \
  -d '{"compatibility": "NONE"}' \
  http://schema-registry:8081/config/my-topic-value

# Delete subject-level config (revert to global)
curl -X DELETE http://schema-registry:8081/config/my-topic-value

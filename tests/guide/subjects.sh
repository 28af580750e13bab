# List all subjects
curl http://schema-registry:8081/subjects

# Get subject versions
curl http://schema-registry:8081/subjects/my-topic-value/versions

# Get latest schema
curl http://schema-registry:8081/subjects/my-topic-value/versions/latest

# Delete subject (soft delete)
curl -X DELETE http://schema-registry:8081/subjects/my-topic-value

# Delete subject (permanent)
curl -X DELETE "http://schema-registry:8081/subjects/my-topic-value?permanent=true"

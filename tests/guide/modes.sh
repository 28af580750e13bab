# Get current mode
curl http://schema-registry:8081/mode
# Response: {"mode": "READWRITE"}

# Set read-only mode (maintenance)
curl -X PUT \
  -H "Content-Type: application/vnd.schemaregistry.v1+json" \
  -d '{"mode": "READONLY"}' \
  http://schema-registry:8081/mode

# Set import mode (for restore with specific IDs)
curl -X PUT \
  -H "Content-Type: application/vnd.schemaregistry.v1+json" \
  -d '{"mode": "IMPORT"}' \
  http://schema-registry:8081/mode

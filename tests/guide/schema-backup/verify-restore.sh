# List subjects in target registry
curl -u admin:password https://target-sr:8081/subjects

# Compare schema counts
curl https://source-sr:8081/subjects | jq length
curl https://target-sr:8081/subjects | jq length

docker run -d -p 8081:8081 \
  -e STORAGE_TYPE=mysql \
  -e MYSQL_HOST=mysql.example.com \
  -e MYSQL_PORT=3306 \
  -e MYSQL_USER=schemaregistry \
  -e MYSQL_PASSWORD=secret \
  -e MYSQL_DATABASE=schemaregistry \
  ghcr.io/axonops/axonops-schema-registry:latest

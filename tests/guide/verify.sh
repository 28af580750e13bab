curl http://localhost:8081/
# Response: {}

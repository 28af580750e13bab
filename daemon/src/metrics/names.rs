//! The names of all numbers.

macro_rules! names {
    ($($name:ident $text:literal,)*) => {
        $(pub(super) const $name: &str = $text;)*

        /// All of them.
        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($text,)*];
    };
}

names! {
    REQUESTS "schema_registry_requests_total",
    DURATIONS "schema_registry_request_duration_seconds",
    IN_FLIGHT "schema_registry_requests_in_flight",
    HTTP_CONNECTIONS "schema_registry_http_connections",
    KARAPACE_REQUESTS "karapace_http_requests_total",
    KARAPACE_IN_PROGRESS "karapace_http_requests_in_progress",
    REGISTRATIONS "schema_registry_registrations_total",
    CHECKS "schema_registry_compatibility_checks_total",
    CHECK_ERRORS "schema_registry_compatibility_errors_total",
    CACHE_HITS "schema_registry_cache_hits_total",
    CACHE_MISSES "schema_registry_cache_misses_total",
    CACHE_SIZE "schema_registry_cache_size",
    STORAGE_OPERATIONS "schema_registry_storage_operations_total",
    STORAGE_ERRORS "schema_registry_storage_errors_total",
    STORAGE_LATENCIES "schema_registry_storage_latency_seconds",
    STORAGE_DURATIONS "schema_registry_storage_operation_duration_seconds",
    STORAGE_UP "schema_registry_storage_up",
    STORAGE_CONNECTIONS "schema_registry_storage_connections",
    SCHEMAS "schema_registry_schemas_total",
    SUBJECTS "schema_registry_subjects_total",
    VERSIONS "schema_registry_schema_versions",
    CONTEXTS "schema_registry_contexts",
    READY "schema_registry_ready",
    STANDBY_STATE "schema_registry_standby_state",
    STANDBY_LAG "schema_registry_standby_lag_seconds",
    STANDBY_BEHIND "schema_registry_standby_behind_versions",
    STANDBY_LEFT_OUT "schema_registry_standby_left_out_versions",
    STANDBY_LOOKS "schema_registry_standby_looks_total",
    STANDBY_ERRORS "schema_registry_standby_errors_total",
    STANDBY_CHANGES "schema_registry_standby_changes_total",
    BUILD "schema_registry_build_info",
    REGISTERED "kafka_schema_registry_registered_count",
    DELETED "kafka_schema_registry_deleted_count",
    API_SUCCESSES "kafka_schema_registry_api_success_count",
    API_FAILURES "kafka_schema_registry_api_failure_count",
    SCHEMAS_CREATED "kafka_schema_registry_schemas_created",
    SCHEMAS_DELETED "kafka_schema_registry_schemas_deleted",
    ROLE "kafka_schema_registry_master_slave_role",
    NODES "kafka_schema_registry_node_count",
    JERSEY_REQUESTS "kafka_schema_registry_jersey_metrics_request_total",
    JERSEY_LATENCIES "kafka_schema_registry_jersey_metrics_request_latency_seconds",
    JERSEY_ERRORS "kafka_schema_registry_jersey_metrics_request_error_total",
    CPU "process_cpu_seconds_total",
    RESIDENT "process_resident_memory_bytes",
    VIRTUAL "process_virtual_memory_bytes",
    OPEN_FILES "process_open_fds",
    MOST_FILES "process_max_fds",
    STARTED "process_start_time_seconds",
    THREADS "process_threads",
}

macro_rules! job_names {
    ($($name:ident $text:literal,)*) => {
        $(pub(super) const $name: &str = $text;)*

        /// Those of a daemon's jobs.
        #[cfg(test)]
        pub(super) const OF_JOBS: &[&str] = &[$($text,)*];
    };
}

macro_rules! one_shot_names {
    ($($name:ident $text:literal,)*) => {
        $(pub(super) const $name: &str = $text;)*

        /// Those of jobs with an end.
        #[cfg(test)]
        pub(super) const OF_ONE_SHOTS: &[&str] = &[$($text,)*];
    };
}

one_shot_names! {
    JOB_RUNNING "replevin_job_running",
    JOB_DURATION "replevin_job_duration_seconds",
    JOB_EXIT_CODE "replevin_job_exit_code",
    JOB_ENDED "replevin_job_ended_timestamp_seconds",
    JOB_SUCCEEDED "replevin_job_last_success_timestamp_seconds",
    RESTORE_PARTITIONS "replevin_restore_partitions",
    RESTORE_DONE "replevin_restore_done_partitions",
    RESTORE_FAILED "replevin_restore_failed_partitions",
    RESTORE_WANTED "replevin_restore_wanted_records",
    RESTORE_READ "replevin_restore_read_records_total",
    RESTORE_READ_BYTES "replevin_restore_read_bytes_total",
    RESTORE_ACKED "replevin_restore_acknowledged_records_total",
    RESTORE_ACKED_BYTES "replevin_restore_acknowledged_bytes_total",
    RESTORE_REQUESTS "replevin_restore_produce_requests_total",
    RESTORE_RESENT "replevin_restore_resent_batches_total",
    RESTORE_PROVEN "replevin_restore_proven_records_total",
    RESTORE_REMAINING "replevin_restore_remaining_seconds",
    RESTORE_MEMORY_USED "replevin_restore_memory_used_bytes",
    RESTORE_MEMORY_LIMIT "replevin_restore_memory_limit_bytes",
    MIGRATE_PARTITIONS "replevin_migrate_partitions",
    MIGRATE_FAILED "replevin_migrate_failed_partitions",
    MIGRATE_LAG "replevin_migrate_lag_offsets",
    MIGRATE_FETCHED "replevin_migrate_fetched_records_total",
    MIGRATE_FETCHED_BYTES "replevin_migrate_fetched_bytes_total",
    MIGRATE_ACKED "replevin_migrate_acknowledged_records_total",
    MIGRATE_ACKED_BYTES "replevin_migrate_acknowledged_bytes_total",
    MIGRATE_RESENT "replevin_migrate_resent_batches_total",
    MIGRATE_COMPARED "replevin_migrate_compared_records_total",
}

job_names! {
    PROGRAM "replevin_build_info",
    RUNNING "replevin_backup_running",
    RESTARTS "replevin_backup_restarts_total",
    PARTITIONS "replevin_backup_partitions_begun_total",
    FETCHED_RECORDS "replevin_backup_fetched_records_total",
    FETCHED_OFFSETS "replevin_backup_fetched_offsets_total",
    FETCHED_BYTES "replevin_backup_fetched_bytes_total",
    CUT_SEGMENTS "replevin_backup_cut_segments_total",
    STORED_OBJECTS "replevin_backup_stored_objects_total",
    STORED_BYTES "replevin_backup_stored_bytes_total",
    COMMITTED_RECORDS "replevin_backup_committed_records_total",
    COMMITS "replevin_backup_commits_total",
    STAGE_BUSY "replevin_backup_stage_busy_seconds_total",
    STAGE_BLOCKED "replevin_backup_stage_blocked_seconds_total",
    STAGE_ITEMS "replevin_backup_stage_items_total",
    STAGE_BYTES "replevin_backup_stage_bytes_total",
    QUEUE_DEPTH "replevin_backup_queue_depth",
    QUEUE_LIMIT "replevin_backup_queue_limit",
    MEMORY_WAITS "replevin_backup_memory_wait_seconds_total",
    STORE_REQUESTS "replevin_backup_store_requests_total",
    STORE_ERRORS "replevin_backup_store_request_errors_total",
    STORE_RETRIES "replevin_backup_store_retries_total",
    STORE_SENT "replevin_backup_store_sent_bytes_total",
    STORE_RECEIVED "replevin_backup_store_received_bytes_total",
    STORE_DURATIONS "replevin_backup_store_request_duration_seconds",
    SCHEMA_WALKS "replevin_backup_schema_walks_total",
    SCHEMA_FAILURES "replevin_backup_schema_walk_failures_total",
    SCHEMAS_NEW "replevin_backup_new_schema_versions_total",
    LAST_COMMIT "replevin_backup_last_commit_timestamp_seconds",
    GAPS "replevin_backup_gaps_total",
    OFFSETS_LOST "replevin_backup_lost_offsets_total",
    LINEAGES_BEGUN "replevin_backup_lineages_begun_total",
    FOLLOWED "replevin_backup_followed_partitions",
    FAILED "replevin_backup_failed_partitions",
    LAG "replevin_backup_lag_offsets",
    UNSTABLE "replevin_backup_unstable_offsets",
    AGE "replevin_backup_recovery_point_age_seconds",
    UNKNOWN_AGE "replevin_backup_partitions_without_recovery_point",
    TOPIC_LAG "replevin_backup_topic_lag_offsets",
    TOPIC_UNSTABLE "replevin_backup_topic_unstable_offsets",
    TOPIC_AGE "replevin_backup_topic_recovery_point_age_seconds",
    TOPICS_LEFT_OUT "replevin_backup_topics_without_numbers",
    PARTITION_LAG "replevin_backup_partition_lag_offsets",
    PARTITION_AGE "replevin_backup_partition_recovery_point_age_seconds",
    MEMORY_USED "replevin_backup_memory_used_bytes",
    MEMORY_LIMIT "replevin_backup_memory_limit_bytes",
    IN_FLIGHT_BYTES "replevin_backup_in_flight_bytes",
}

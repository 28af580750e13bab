//! What is told, and that it stays within bounds whatever is asked.

use super::*;
use bytes::Bytes;
use hyper::Method;

fn served<'a>(method: &'a Method, path: &'a str, endpoint: Option<Endpoint>, status: u16) -> Served<'a> {
    Served { method, path, endpoint, status, bytes: 0, elapsed: Duration::from_millis(3), request_id: "" }
}

#[tokio::test]
async fn every_name_is_told_once_it_has_counted() {
    let numbers = Arc::new(Numbers::new());
    numbers.served(&served(&Method::GET, "/subjects", Some(Endpoint::Subjects), 200));
    numbers.served(&served(&Method::POST, "/x", Some(Endpoint::Register), 409));
    numbers.registered("AVRO", true);
    numbers.store().set("memory", true, Some(registry::store::Pool { max: 5, open: 3, idle: 1 }));
    let store = Metered::new(
        Arc::new(registry::store::memory::MemoryStore::new(uuid::Uuid::nil())),
        Arc::clone(numbers.store()),
    );
    let registry =
        registry::service::Registry::open(Arc::new(store), registry::service::Settings::default(), || 1);
    let api = Arc::new(Api::new(Arc::new(registry.await.expect("opened")), registry::api::About::default()));
    let body = Bytes::from_static(b"{\"schema\": \"\\\"int\\\"\"}");
    let register = registry::api::Request {
        method: "POST",
        path: "/subjects/s/versions",
        body,
        ..registry::api::Request::default()
    };
    assert_eq!(api.answer(&register).await.status, 200);
    let text = numbers.text(Some(api)).await;
    for name in
        names::ALL.iter().filter(|name| !matches!(**name, names::STORAGE_ERRORS | names::CHECK_ERRORS))
    {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not in\n{text}");
    }
    for line in [
        "schema_registry_requests_total{endpoint=\"subjects.list\",method=\"GET\",path=\"/subjects\",status=\"200\"} 1",
        "schema_registry_registrations_total{status=\"success\",type=\"AVRO\"} 1",
        "schema_registry_storage_up{backend=\"memory\"} 1",
        "schema_registry_storage_operations_total{backend=\"memory\",operation=\"heads\"} ",
        "schema_registry_storage_connections{backend=\"memory\",state=\"in_use\"} 2",
        "kafka_schema_registry_api_failure_count 1",
        "kafka_schema_registry_jersey_metrics_request_error_total{endpoint=\"subjects.versions.register\"} 1",
        "schema_registry_compatibility_checks_total{level=\"BACKWARD\",result=\"compatible\",type=\"AVRO\"} 1",
        "schema_registry_cache_misses_total{cache=\"parsed\"} 0",
        "kafka_schema_registry_master_slave_role 1",
        "schema_registry_ready 1",
        "karapace_http_requests_total{endpoint=\"subjects.list\",method=\"GET\",path=\"/subjects\",status=\"200\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    assert!(number("process_resident_memory_bytes") > 1e6);
    assert!(number("process_open_fds") >= 3.0 && number("process_max_fds") > number("process_open_fds"));
    assert!(number("process_start_time_seconds") > 1.7e9 && number("process_threads") >= 1.0);
    assert!(number("process_cpu_seconds_total") >= 0.0);
}

#[tokio::test]
async fn labels_come_from_lists_and_never_from_requests() {
    let numbers = Arc::new(Numbers::new());
    for n in 0..1000 {
        let method = Method::from_bytes(format!("M{n}").as_bytes()).expect("a method");
        numbers.served(&served(&method, &format!("/p{n}"), None, 404));
        numbers.registered(&format!("TYPE{n}"), false);
    }
    for endpoint in Endpoint::ALL {
        numbers.served(&served(&Method::GET, "/x", Some(*endpoint), 200));
    }
    let text = numbers.text(None).await;
    assert!(text.lines().count() < 6_000, "{} lines", text.lines().count());
    assert!(!text.contains("M7") && !text.contains("/p7") && !text.contains("TYPE7"));
    assert!(
        text.contains("endpoint=\"other\",method=\"other\",path=\"other\",status=\"404\"} 1000"),
        "{text}"
    );
    assert!(text.contains("schema_registry_ready 0"), "{text}");
}

#[test]
fn every_number_of_a_job_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.yaml");
    let text =
        "mode: backup\nbackup_id: b\nsource: {bootstrap_servers: [\"h:1\"]}\nstorage: {backend: memory}\n";
    std::fs::write(&file, text).expect("written");
    let loaded = crate::config::load(&file, &crate::config::Overrides::default()).expect("a job");
    let crate::config::Job::Backup(job) = loaded else { panic!("no backup") };
    let stop = tokio_util::sync::CancellationToken::new();
    let job = Arc::new(crate::supervise::Supervised::new(
        "job.yaml".to_owned(),
        job,
        crate::supervise::AtFirst::TriesAgain,
        &stop,
    ));
    job.progress.commits.store(3, std::sync::atomic::Ordering::Relaxed);
    let numbers = JobNumbers::new();
    let most = Most { topics: 10, partitions: 10 };
    let text = [numbers.text(&[Arc::clone(&job)], most), numbers.text(&[job], most)].concat();
    // It follows nothing, so nothing is told of topics, partitions and queues, nor how old a recovery point is that is not known.
    let is_of_partitions = |name: &str| {
        ["_topic_", "_partition_", "_recovery_point_age_", "_queue_"].iter().any(|part| name.contains(part))
    };
    assert!(!text.contains("topic=") && !text.contains("_age_seconds{"), "{text}");
    for name in names::OF_JOBS.iter().filter(|name| !is_of_partitions(name)) {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not in\n{text}");
    }
    // However often it is asked for, it is counted once.
    assert_eq!(text.matches("replevin_backup_commits_total{backup_id=\"b\"} 3\n").count(), 2, "{text}");
    assert!(text.contains("replevin_backup_running{backup_id=\"b\"} 0\n"), "{text}");
}

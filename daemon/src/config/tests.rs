//! Whole files: the examples load, the broken ones get the exact error beside them, and nothing panics.

use pipeline::storage::StorageSettings;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::expand::Surroundings;
use super::*;

/// The folder of examples.
pub(super) fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// Compares a text with a committed file, or writes the file where `REPLEVIN_REWRITE` is set.
pub(super) fn matches_file(path: &Path, text: &str) {
    if std::env::var_os("REPLEVIN_REWRITE").is_some() {
        std::fs::write(path, text).expect("the folder can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is out of date (REPLEVIN_REWRITE=1 writes it anew); it should be:\n{text}",
        path.display()
    );
}

/// Every variable is set, to something that says which it is.
pub(super) struct Samples;

impl Surroundings for Samples {
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(Some(format!("value-of-{name}")))
    }

    fn file(&self, path: &str) -> Result<String, String> {
        Ok(format!("content of {path}\n"))
    }
}

/// The variables that broken files refer to; no file exists.
struct Broken;

impl Surroundings for Broken {
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(match name {
            "PASSWORD" => Some("hunter2".to_owned()),
            "INJECTION" => Some("x\nbackup: {continuous: true}".to_owned()),
            _ => None,
        })
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("No such file or directory (os error 2)".to_owned())
    }
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// The notices of a file of either kind.
fn load_any(name: &str, text: &str, surroundings: &dyn Surroundings) -> Result<Vec<Notice>, ConfigError> {
    let tree = yaml::parse(text, &mut Problems::default());
    match tree.map_or(FileKind::Job, |tree| kind::of(&tree)) {
        FileKind::Job => {
            parse(name, text, &Overrides::default(), surroundings).map(|job| job.notices().to_vec())
        }
        FileKind::Registry => {
            registry::parse(name, text, &[], surroundings, false).map(|config| config.notices)
        }
    }
}

fn from(text: &str) -> Result<Job, String> {
    parse("job.yaml", text, &Overrides::default(), &Samples).map_err(|error| error.to_string())
}

fn backup(rest: &str) -> BackupJob {
    let text = format!(
        "mode: backup\nbackup_id: b\nsource: {{bootstrap_servers: [k:9092]}}\nstorage: {{backend: memory}}\n{rest}"
    );
    match from(&text) {
        Ok(Job::Backup(job)) => job,
        other => panic!("{other:?}"),
    }
}

fn restore(rest: &str) -> RestoreJob {
    let text = format!(
        "mode: restore\nbackup_id: b\ntarget: {{bootstrap_servers: [k:9092]}}\nstorage: {{backend: memory}}\n{rest}"
    );
    match from(&text) {
        Ok(Job::Restore(job)) => job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_example_loads() {
    let files = yaml_files(&configs());
    assert!(files.len() >= 10, "{files:?}");
    for path in files {
        let name = format!("configs/{}", path.file_name().expect("a file").to_string_lossy());
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let notices = load_any(&name, &text, &Samples).unwrap_or_else(|error| panic!("{error}"));
        let expects_notices = name.contains("/oso-") || name.contains("axonops");
        assert_eq!(!notices.is_empty(), expects_notices, "{name}: {notices:?}");
        let tree = yaml::parse(&text, &mut Problems::default()).expect("a tree");
        assert_eq!(kind::of(&tree) == FileKind::Registry, name.contains("/registry"), "{name}");
    }
}

/// The samples of the guide to schemas in backups are pieces of a job; the rest of one is put around them, and a URL where they have
/// none.
#[test]
fn every_sample_of_the_guide_to_schemas_loads() {
    let files = yaml_files(&configs().join("../tests/guide/schema-backup"));
    assert!(files.len() >= 20, "{files:?}");
    for path in files {
        let mut text = std::fs::read_to_string(&path).expect("it can be read");
        if !text.contains("url: https://schema-registry") {
            text = text.replace(
                "  schema_registry:\n",
                "  schema_registry:\n    url: https://schema-registry:8081\n",
            );
        }
        let name = path.display().to_string();
        let job = if text.contains("mode:") {
            parse(&name, &text, &Overrides::default(), &Samples).unwrap_or_else(|error| panic!("{error}"))
        } else {
            // One section is for both.
            let registry = restore(&text).schemas.and_then(|schemas| schemas.registry);
            assert!(registry.is_some(), "{name} is nothing for a restore");
            Job::Backup(backup(&text))
        };
        let Job::Backup(job) = job else { panic!("{name} is no backup") };
        let registry = job.schema_registry.unwrap_or_else(|| panic!("{name} has no registry"));
        assert_eq!(registry.access.url.expose(), "https://schema-registry:8081", "{name}");
    }
}

#[test]
fn records_are_looked_through_for_schema_ids_only_where_told_to() {
    let scans = |line: &str| {
        let job = backup(&format!("schema_registry:\n  url: http://localhost:8081\n  backup: {{{line}}}\n"));
        job.schema_registry.expect("a registry").scan_ids
    };
    assert_eq!([scans(""), scans("schema_ids: off"), scans("schema_ids: scan")], [false, false, true]);
}

#[test]
fn every_broken_file_gets_the_error_beside_it() {
    let files = yaml_files(&configs().join("wrong"));
    assert!(files.len() >= 25);
    for path in files {
        let name = format!("configs/wrong/{}", path.file_name().expect("a file").to_string_lossy());
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let error = match load_any(&name, &text, &Broken) {
            Ok(_) => panic!("{name} is no longer wrong"),
            Err(error) => format!("{error}\n"),
        };
        assert!(!error.contains("hunter2"), "{name} leaks: {error}");
        matches_file(&path.with_extension("error"), &error);
    }
}

#[test]
fn a_minimal_backup_has_the_documented_defaults() {
    let job = backup("");
    assert_eq!(job.memory_limit, 512 << 20);
    let backup = job.backup;
    assert!(!backup.continuous);
    assert_eq!(backup.start_offset, StartOffset::Earliest);
    assert_eq!(backup.isolation, Isolation::ReadCommitted);
    assert_eq!(backup.compression, Compression::Zstd { level: 3 });
    assert_eq!((backup.segment_max_bytes, backup.segment_max_interval_ms), (128 << 20, 60_000));
    assert_eq!((backup.segment_max_records, backup.fetch_max_bytes), (None, 16 << 20));
    let connection = job.source.connection;
    assert_eq!((connection.connections_per_broker, connection.keepalive_time_ms), (4, 60_000));
    assert_eq!((connection.client_rack, connection.client_id.as_str()), (None, "replevin"));
}

#[test]
fn start_offsets_come_as_a_tag_or_as_a_map() {
    let tag = backup("backup:\n  start_offset: !specific\n    orders: {0: 100, \"1\": 7}\n").backup;
    let map = backup("backup:\n  start_offset:\n    specific:\n      orders: {0: 100, 1: 7}\n").backup;
    assert_eq!(tag.start_offset, map.start_offset);
    let StartOffset::Specific(topics) = map.start_offset else { panic!() };
    assert_eq!(topics.values().next().expect("one").get(&1), Some(&7));
    assert_eq!(backup("backup: {start_offset: latest}").backup.start_offset, StartOffset::Latest);
}

#[test]
fn the_command_line_wins_over_the_file_but_not_over_its_mode() {
    let text = "mode: backup\nbackup_id: b\nsource: {bootstrap_servers: [k:9092]}\nstorage: {backend: memory}\n\
                backup: {continuous: true}\n";
    let with = |overrides| parse("job.yaml", text, &overrides, &Samples);
    let once = Overrides { mode: Some(Mode::Backup), continuous: Some(false), ..Overrides::default() };
    let Ok(Job::Backup(job)) = with(once) else { panic!() };
    assert!(!job.backup.continuous);
    let error =
        with(Overrides { mode: Some(Mode::Restore), ..Overrides::default() }).expect_err("another mode");
    assert!(
        error.to_string().contains("the file says mode: backup, the command line says restore"),
        "{error}"
    );
    let unsaid = text.trim_start_matches("mode: backup\n");
    assert!(parse("job.yaml", unsaid, &once, &Samples).is_ok());
    let text = restore("");
    assert!(!text.restore.dry_run && !text.restore.proof);
}

#[test]
fn a_restore_takes_its_keys_in_every_spelling() {
    let job = restore(
        "restore:\n  time_window_start: 1705276800000\n  time_window_end: '2024-01-16T00:00:00Z'\n  source_partitions: [0, 2]\n  \
         partition_mapping: {0: 4}\n  topic_mapping: {orders: orders.copy}\n  produce_acks: all\n  \
         rate_limit_bytes_per_sec: 10MiB\n  lineage: {my-topic-3: 0123456789abcdef}\n  \
         topic_config_overrides:\n    retention.ms: 60000\n    orders: {cleanup.policy: delete}\n",
    );
    let restore = job.restore;
    assert_eq!(restore.time_window_end, Some(1_705_363_200_000));
    assert_eq!(restore.source_partitions.expect("some").len(), 2);
    assert_eq!(restore.partition_mapping[&0], 4);
    assert_eq!(restore.rate_limit_bytes_per_sec, Some(10 << 20));
    let (place, lineage) = restore.lineage.iter().next().expect("one");
    assert_eq!((place.to_string(), lineage.to_string()), ("my-topic-3".into(), "0123456789abcdef".into()));
    assert_eq!(restore.topic_config_overrides.all["retention.ms"], "60000");
    assert_eq!(restore.topic_config_overrides.by_topic.len(), 1);
    assert_eq!((restore.into_non_empty, restore.retention), (IntoNonEmpty::Refuse, None));
}

#[test]
fn variables_fill_values_and_cannot_bring_structure() {
    struct Vars;
    impl Surroundings for Vars {
        fn variable(&self, name: &str) -> Result<Option<String>, String> {
            Ok(match name {
                "SIZE" => Some("64MiB".to_owned()),
                "FOLLOW" => Some("true".to_owned()),
                "BROKERS" => Some("a:1, b:2".to_owned()),
                "FOLDER" => Some("/x\nmode: restore # \"'".to_owned()),
                _ => None,
            })
        }
        fn file(&self, _: &str) -> Result<String, String> {
            Ok("s3cret\n".to_owned())
        }
    }
    let text = "mode: backup\nbackup_id: b\nsource: {bootstrap_servers: ['${BROKERS}']}\n\
                storage: {backend: filesystem, path: \"${FOLDER}\"}\n\
                backup: {segment_max_bytes: '${SIZE}', continuous: '${FOLLOW}', segment_max_records: '${NONE:-}', \
                compression_level: '${LEVEL:-5}'}\n";
    let job = parse("job.yaml", text, &Overrides::default(), &Vars);
    // An empty quoted value is a value; only a plain one counts as left out.
    assert!(
        job.expect_err("empty")
            .to_string()
            .contains("segment_max_records: expected a whole number, found nothing")
    );
    let (start, _) = text.split_once("backup: {").expect("it is there");
    let text = format!(
        "{start}backup:\n  segment_max_bytes: ${{SIZE}}\n  continuous: ${{FOLLOW}}\n  \
         segment_max_records: ${{NONE:-}}\n  compression_level: ${{LEVEL:-5}}\n"
    );
    let Ok(Job::Backup(job)) = parse("job.yaml", &text, &Overrides::default(), &Vars) else { panic!() };
    assert_eq!(job.source.bootstrap_servers.len(), 2);
    assert_eq!(job.source.bootstrap_servers[1].to_string(), "b:2");
    assert!(job.backup.continuous);
    assert_eq!((job.backup.segment_max_bytes, job.backup.segment_max_records), (64 << 20, None));
    assert_eq!(job.backup.compression, Compression::Zstd { level: 5 });
    assert!(
        matches!(job.storage, StorageSettings::Filesystem { path, .. } if path.to_string_lossy().ends_with("# \"'"))
    );
}

#[test]
fn secrets_stay_hidden_in_whole_jobs() {
    let text = "mode: backup\nbackup_id: b\nsource: {bootstrap_servers: [k:9092]}\n\
                storage: {backend: s3, bucket: b, access_key: AKIA, secret_key: hunter2, session_token: '${T}'}\n";
    let job = from(text).expect("good");
    let shown = format!("{job:?}");
    assert!(
        !shown.contains("AKIA") && !shown.contains("hunter2") && !shown.contains("value-of-T"),
        "{shown}"
    );
    let Job::Backup(BackupJob { storage: StorageSettings::S3(bucket), .. }) = job else { panic!() };
    assert_eq!(bucket.secret_key.expect("given").expose(), "hunter2");
    assert_eq!(bucket.path_style, None);
}

#[test]
fn kafkas_own_names_mean_the_same() {
    let text = "mode: backup\nbackup_id: b\nstorage: {backend: memory}\nsource:\n  bootstrap.servers: a:1,b:2\n  \
                client.rack: r1\n  security.protocol: PLAINTEXT\n";
    let Ok(Job::Backup(job)) = from(text) else { panic!("{:?}", from(text)) };
    assert_eq!(job.source.bootstrap_servers.len(), 2);
    assert_eq!(job.source.connection.client_rack.as_deref(), Some("r1"));
    for key in [
        "sasl.mechanisms: PLAIN",
        "ssl.ca.location: /x",
        "security.protocol: SASL_SSL",
        "ssl.truststore.location: x",
    ] {
        let error =
            from(&format!("{text}  {key}\n").replace("  security.protocol: PLAINTEXT\n", "")).expect_err(key);
        assert!(error.contains("not yet supported: TLS and SASL"), "{error}");
    }
}

#[test]
fn every_key_of_oso_is_known() {
    let keys: [(&str, &str); 12] = [
        ("", "mode backup_id source target storage backup restore offset_storage metrics enterprise"),
        ("source", "bootstrap_servers topics security connection"),
        ("source.topics", "include exclude mapping"),
        (
            "source.security",
            "security_protocol sasl_mechanism sasl_username sasl_password ssl_ca_location ssl_certificate_location \
             ssl_key_location ssl_key_password sasl_kerberos_service_name sasl_keytab_path sasl_krb5_config_path",
        ),
        (
            "source.connection",
            "tcp_keepalive tcp_nodelay keepalive_time_secs keepalive_interval_secs connections_per_broker",
        ),
        (
            "storage (s3)",
            "bucket region endpoint access_key secret_key prefix path_style allow_http access_key_id secret_access_key",
        ),
        (
            "storage (azure)",
            "account_name container_name account_key prefix endpoint use_workload_identity client_id tenant_id \
             client_secret sas_token container connection_string",
        ),
        ("storage (gcs)", "bucket service_account_path prefix service_account_json"),
        ("storage (filesystem)", "path prefix"),
        (
            "backup",
            "segment_max_bytes segment_max_interval_ms segment_max_records fetch_max_bytes compression \
             compression_level start_offset continuous stop_at_current_offsets include_internal_topics \
             internal_topics checkpoint_interval_secs sync_interval_secs include_offset_headers source_cluster_id \
             max_concurrent_partitions poll_interval_ms consumer_group_snapshot retention capture_topic_configs \
             require_topic_configs checkpoint_interval_ms consumer_group_id",
        ),
        (
            "restore",
            "time_window_start time_window_end source_partitions partition_mapping topic_mapping \
             consumer_group_strategy dry_run create_topics purge_topics auto_consumer_groups reset_consumer_offsets \
             include_original_offset_header default_replication_factor rate_limit_records_per_sec \
             rate_limit_bytes_per_sec max_concurrent_partitions produce_batch_size produce_acks produce_timeout_ms \
             checkpoint_state checkpoint_interval_secs consumer_groups offset_report repartitioning \
             strip_offset_headers restore_topic_configs existing_topic_config_policy topic_config_overrides \
             rewrite_schema_ids schema_id_mapping header_preflight batch_size",
        ),
        (
            "metrics",
            "enabled port bind_address path keep_alive_seconds max_partition_labels update_interval_ms",
        ),
    ];
    for (path, names) in keys {
        let table = super::job::TABLES.iter().find(|table| table.path == path).expect(path);
        for name in names.split_whitespace() {
            assert!(table.find(name).is_some(), "{path}: {name}");
        }
    }
}

#[test]
fn a_file_is_read_from_disk_within_its_bounds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("job.yaml");
    let overrides = Overrides::default();
    let error = load(&path, &overrides).expect_err("missing").to_string();
    assert!(error.contains("cannot read the file: No such file"), "{error}");
    std::fs::write(&path, b"mode: backup\nbackup_id: \xff\n").expect("written");
    assert!(load(&path, &overrides).expect_err("bytes").to_string().contains("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'#'; LARGEST_FILE + 1]).expect("written");
    assert!(load(&path, &overrides).expect_err("large").to_string().contains("larger than 1048576 bytes"));
    let good = "\u{feff}mode: backup\nbackup_id: b\nsource: {bootstrap_servers: [k:1]}\nstorage: {backend: memory}\n";
    std::fs::write(&path, good).expect("written");
    assert!(load(&path, &overrides).is_ok());
}

/// Pieces of which many random files are nearly right.
fn fragments() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "mode: backup\n",
        "backup_id: b\n",
        "source:\n",
        "target:\n",
        "  bootstrap_servers: [k:9092]\n",
        "storage:\n",
        "  backend: s3\n",
        "  backend: filesystem\n",
        "  path: /x\n",
        "backup:\n",
        "restore:\n",
        "  continuous: true\n",
        "  start_offset: !specific {a: {0: 1}}\n",
        "  start_offset: {specific: {a: {0: -1}}}\n",
        "  topics: {include: ['~(', '[']}\n",
        "  topic_config_overrides: {a: {b: c}, d: 1}\n",
        "  time_window_end: 2024-02-30T00:00:00Z\n",
        "memory_limit: 9999999TiB\n",
        "&a ",
        "*a",
        "<<: *a\n",
        "${X}",
        "${X:-${Y}}",
        "$${",
        "${file:/x}",
        "!t ",
        "\t",
        "- ",
        "? ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "|\n",
        "---\n",
        "  lineage: {a-0: 0}\n",
        "  segment_max_bytes: é\n",
        "x",
        "\n",
        "  ",
        "null",
        "enterprise: {encryption: {enabled: false}}\n",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse("f", &text, &Overrides::default(), &Samples).map_err(|error| error.to_string());
        let _ = registry::parse("f", &text, &[], &Samples, false).map_err(|error| error.to_string());
    }

    #[test]
    fn arbitrary_values_of_every_key_of_a_registry_never_panic(value in "[ -~é]{0,30}", table in 0..registry::tables::TABLES.len(), key in 0usize..40) {
        let table = registry::tables::TABLES[table];
        let Some(key) = table.keys.get(key) else { return Ok(()) };
        let mut text = format!("{{{}: '{}'}}", key.name, value.replace('\'', "''"));
        for section in table.path.rsplit('.').filter(|section| !section.is_empty()) {
            text = format!("{{{section}: {text}}}");
        }
        if let Err(error) = registry::parse("f", &text, &[], &Samples, false) {
            prop_assert!(!error.to_string().contains("makes no configuration"), "{}", error);
        }
    }

    #[test]
    fn arbitrary_fragments_never_panic_and_always_say_why(text in fragments()) {
        for surroundings in [&Samples as &dyn Surroundings, &Broken] {
            if let Err(error) = parse("f", &text, &Overrides::default(), surroundings) {
                let error = error.to_string();
                prop_assert!(error.starts_with("f:") && !error.contains("makes no job"), "{}", error);
            }
            if let Err(error) = registry::parse("f", &text, &[], surroundings, false) {
                let error = error.to_string();
                prop_assert!(error.starts_with("f:") && !error.contains("makes no configuration"), "{}", error);
            }
        }
    }

    #[test]
    fn arbitrary_values_of_every_key_never_panic(value in "[ -~é]{0,30}", table in 0..super::job::TABLES.len(), key in 0usize..40) {
        let table = super::job::TABLES[table];
        let Some(key) = table.keys.get(key) else { return Ok(()) };
        let mode = match table.path {
            "restore" => "restore",
            "migrate" | " (migration)" => "migrate",
            _ => "backup",
        };
        let section = table.path.split(" (").next().unwrap_or_default();
        let line = format!("{}: '{}'", key.name, value.replace('\'', "''"));
        let base = format!("mode: {mode}\nbackup_id: b\n");
        let text = match section {
            "" => format!("{base}{line}\n"),
            _ if section.contains('.') => format!("{base}source: {{bootstrap_servers: [k:1], {}: {{{line}}}}}\n", &section[7..]),
            "storage" => {
                let backend = table.path.split(['(', ')']).nth(1).unwrap_or_default();
                format!("{base}storage: {{backend: {backend}, {line}}}\n")
            }
            _ => format!("{base}{section}: {{{line}}}\n"),
        };
        let _ = parse("f", &text, &Overrides::default(), &Samples).map_err(|error| error.to_string());
    }
}

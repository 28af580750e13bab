//! Both dialects, in files and in the environment, and what Kubernetes adds to it.

use super::*;
use crate::config::expand::Surroundings;
use std::path::PathBuf;

/// The variables of a test.
struct Vars(&'static [(&'static str, &'static str)]);

impl Surroundings for Vars {
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn file(&self, _: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
    }
}

fn from(text: &str, vars: &'static [(&'static str, &'static str)]) -> Result<RegistryConfig, String> {
    parse("registry.yaml", text, &[], &Vars(vars), false).map_err(|error| error.to_string())
}

fn good(text: &str, vars: &'static [(&'static str, &'static str)]) -> RegistryConfig {
    from(text, vars).unwrap_or_else(|error| panic!("{error}"))
}

fn sql(config: &RegistryConfig) -> &registry::store::sql::SqlSettings {
    match &config.store {
        StoreSettings::Postgresql(settings) | StoreSettings::Mysql(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn messages(config: &RegistryConfig) -> String {
    config.notices.iter().map(|notice| notice.in_file(Some("f")) + "\n").collect()
}

macro_rules! guide {
    ($($file:literal),*) => {
        [$(($file, include_str!(concat!("../../../../tests/guide/", $file, ".yaml")))),*]
    };
}

/// Those of the guide's samples that are not about features to come, as they are written.
const GUIDE: [(&str, &str); 9] = guide!(
    "deploy-postgresql",
    "deploy-cassandra",
    "postgresql",
    "mysql",
    "cassandra",
    "metrics",
    "logging",
    "server",
    "pool"
);

/// Those that are.
const GUIDE_LATER: [(&str, &str); 8] =
    guide!("tls", "auth-basic", "auth-apikey", "auth-ldap", "auth-oidc", "rbac", "audit", "rate-limit");

/// With the words of their refusal, in the same order.
const REFUSALS: [&str; 8] = [
    "registry.yaml:2:3: server.tls: not yet supported: TLS for clients",
    "registry.yaml:1:1: auth: not yet supported: authentication",
    "auth: not yet supported: authentication",
    "auth: not yet supported: authentication",
    "auth: not yet supported: authentication",
    "rbac: not yet supported: authentication and authorisation",
    "audit: not yet supported: an audit log",
    "rate_limit: not yet supported: rate limits",
];

#[test]
fn every_sample_of_the_guide_runs_or_is_refused_by_name() {
    let configs: Vec<_> = GUIDE.iter().map(|(name, text)| (*name, good(text, &[]))).collect();
    let config = |name: &str| &configs.iter().find(|(known, _)| *known == name).expect(name).1;
    let production = sql(config("deploy-postgresql"));
    assert_eq!((production.host.as_str(), production.port), ("postgres.example.com", 5432));
    assert_eq!((production.user.as_str(), production.password.expose()), ("schemaregistry", "secret"));
    assert_eq!(production.ssl_mode, registry::store::sql::SslMode::Require);
    assert_eq!(sql(config("postgresql")).connect_timeout, Duration::from_secs(30));
    assert_eq!(sql(config("mysql")).max_connections, 25);
    assert_eq!(config("metrics").metrics.as_ref().and_then(|metrics| metrics.port), Some(9090));
    assert_eq!(
        (config("logging").logging.level.as_str(), config("logging").logging.is_json),
        ("debug", true)
    );
    let server = &config("server").server;
    assert_eq!((server.idle_timeout, server.max_header_bytes), (Duration::from_secs(120), 1 << 20));
    // Without a type it is a piece of a file: it starts, and says that the piece has no effect.
    let notices = messages(config("pool"));
    assert!(notices.contains("f:3:5: storage.postgresql has no effect: storage.type is sqlite"), "{notices}");
    for ((_, text), words) in GUIDE_LATER.iter().zip(REFUSALS) {
        let error = from(text, &[]).expect_err(words);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn every_sample_is_told_from_a_job() {
    let texts = GUIDE.iter().chain(&GUIDE_LATER).map(|(_, text)| *text);
    for text in texts {
        let tree = yaml::parse(text, &mut Problems::default()).expect("a tree");
        assert_eq!(kind::of(&tree), FileKind::Registry, "{text}");
    }
    let job = "mode: backup\nbackup_id: b\nmetrics: {enabled: true}\nlogging: {level: info}\n";
    assert_eq!(kind::of(&yaml::parse(job, &mut Problems::default()).expect("a tree")), FileKind::Job);
    let error = from("mode: backup\nbackup_id: b\nstorage: {backend: memory}\n", &[]).expect_err("a job");
    assert!(
        error.contains("registry.yaml:1:1: this is a job file") && error.contains("replevin backup"),
        "{error}"
    );
}

#[cfg(feature = "cassandra")]
#[test]
fn cassandra_takes_hosts_with_and_without_ports() {
    let text = "storage:\n  type: cassandra\n  cassandra: {hosts: [c1, 'c2:9043', '::1'], port: 9999, consistency: QUORUM, read_consistency: one, timeout: 1m30s}\n";
    let StoreSettings::Cassandra(settings) = good(text, &[]).store else { panic!("another store") };
    assert_eq!(settings.hosts, ["c1:9999", "c2:9043", "[::1]:9999"]);
    assert_eq!(format!("{:?} {:?}", settings.read_consistency, settings.write_consistency), "One Quorum");
    assert_eq!(format!("{:?}", settings.serial_consistency), "Serial");
    assert_eq!((settings.replication_factor, settings.operation_timeout), (None, Duration::from_secs(90)));
    let vars =
        &[("SCHEMA_REGISTRY_STORAGE_TYPE", "cassandra"), ("SCHEMA_REGISTRY_CASSANDRA_HOSTS", "a, b:1")];
    let StoreSettings::Cassandra(settings) = good("", vars).store else { panic!("another store") };
    assert_eq!(
        (settings.hosts.join(" "), settings.keyspace.as_str()),
        ("a:9042 b:1".to_owned(), "schema_registry")
    );
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in ["", "# only words\n\n  # and more\n", "\u{feff}", "server:\nstorage: null\n"] {
        let config = good(text, &[]);
        let StoreSettings::Sqlite(settings) = &config.store else { panic!("{:?}", config.store) };
        assert_eq!(settings.folder, PathBuf::from("replevin-data"));
        assert_eq!((config.server.host.as_str(), config.server.port), ("0.0.0.0", 8081));
        assert_eq!((config.default_level, config.incompatible_code), (Level::Backward, 409));
        assert_eq!(config.metrics, Some(Metrics { path: "/metrics".to_owned(), port: None }));
        assert_eq!(config.logging.requests, Some(tracing::Level::DEBUG));
        assert_eq!(config.notices, []);
    }
}

#[test]
fn the_guides_variables_set_up_a_store() {
    let config = good(
        "",
        &[
            ("STORAGE_TYPE", "postgresql"),
            ("POSTGRES_HOST", "postgres.example.com"),
            ("POSTGRES_PORT", "5433"),
            ("POSTGRES_USER", "schemaregistry"),
            ("POSTGRES_PASSWORD", "se$cr${et}"),
            ("POSTGRES_DATABASE", "schemaregistry"),
            ("POSTGRES_SSLMODE", "require"),
            ("SERVER_HOST", "127.0.0.1"),
            ("SERVER_PORT", "9999"),
            ("COMPATIBILITY_LEVEL", "full_transitive"),
        ],
    );
    let settings = sql(&config);
    assert_eq!((settings.host.as_str(), settings.port), ("postgres.example.com", 5433));
    assert_eq!(settings.password.expose(), "se$cr${et}", "nothing is expanded in a variable");
    assert_eq!((config.server.host.as_str(), config.server.port), ("127.0.0.1", 9999));
    assert_eq!(config.default_level, Level::FullTransitive);
    let config = good(
        "",
        &[
            ("STORAGE_TYPE", "mysql"),
            ("MYSQL_HOST", "mysql.example.com"),
            ("MYSQL_PORT", "3306"),
            ("MYSQL_USER", "schemaregistry"),
            ("MYSQL_PASSWORD", "secret"),
            ("MYSQL_DATABASE", "schemaregistry"),
        ],
    );
    assert!(matches!(&config.store, StoreSettings::Mysql(settings) if settings.host == "mysql.example.com"));
}

#[test]
fn the_other_dialects_names_mean_the_same() {
    let text = "server: {read_timeout: 7, shutdown_timeout: 1m, max_request_body_size: 2048, cluster_id: c1}\n\
                compatibility: {default_level: NONE, error_code: 40901}\n\
                storage:\n  type: postgresql\n  postgresql: {user: u, ssl_mode: verify-full, max_open_conns: 9, max_idle_conns: 12, conn_max_lifetime: 60, connect_timeout: 3, schema_max_retries: 15}\n";
    let config = good(
        text,
        &[
            ("SCHEMA_REGISTRY_PG_PASSWORD", "p"),
            ("SCHEMA_REGISTRY_READ_TIMEOUT", "8"),
            ("SCHEMA_REGISTRY_LOG_FORMAT", "JSON"),
            ("SCHEMA_REGISTRY_DOCS_ENABLED", "true"),
            ("SCHEMA_REGISTRY_MODE_MUTABILITY", "false"),
            ("SCHEMA_REGISTRY_SCHEMA_MAX_SIZE", "4KiB"),
        ],
    );
    let settings = sql(&config);
    assert_eq!((settings.max_connections, settings.min_connections), (9, 9), "never more than at most");
    assert_eq!(
        (settings.max_lifetime, settings.connect_timeout),
        (Duration::from_secs(60), Duration::from_secs(3))
    );
    assert_eq!(settings.ssl_mode, registry::store::sql::SslMode::VerifyFull);
    assert_eq!(settings.password.expose(), "p");
    assert_eq!(
        (config.server.read_timeout, config.server.shutdown_timeout),
        (Duration::from_secs(8), Duration::from_secs(60))
    );
    assert_eq!((config.default_level, config.incompatible_code), (Level::None, 40901));
    assert_eq!((config.cluster_id.as_str(), config.logging.is_json), ("c1", true));
    assert!(config.docs_enabled && !config.schemas.mode_mutability);
    assert_eq!(config.schemas.max_size, 4096);
    assert!(messages(&config).contains("schema_max_retries has no effect"), "{}", messages(&config));
    for (tls, mode) in
        [("true", "VerifyFull"), ("skip-verify", "Require"), ("verify-ca", "VerifyCa"), ("false", "Disable")]
    {
        let text = format!("storage: {{type: mysql, mysql: {{user: u, tls: {tls}}}}}\n");
        assert_eq!(format!("{:?}", sql(&good(&text, &[])).ssl_mode), mode);
    }
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let text = "server: {port: 1}\ncompatibility:\n  default_level: NONE\nstorage: {type: memory}\n";
    let vars = Vars(&[("SERVER_PORT", "2"), ("COMPATIBILITY_LEVEL", "FULL"), ("SERVER_HOST", "")]);
    let flags = [Outside { name: "--port", path: vec!["server", "port"], text: "3".to_owned() }];
    let config = parse("f", text, &flags, &vars, false).expect("good");
    assert_eq!((config.server.port, config.default_level), (3, Level::Full));
    assert_eq!(config.server.host, "0.0.0.0", "set to nothing is not set");
    let flags = [Outside { name: "--port", path: vec!["server", "port"], text: "x".to_owned() }];
    let error = parse("", "", &flags, &Vars(&[]), false).expect_err("no number").to_string();
    assert_eq!(error, "--port: server.port: expected a whole number, found \"x\"\n    write digits only");
}

#[test]
fn wrong_variables_are_named() {
    for (vars, words) in [
        (&[("SERVER_PORT", "http")][..], "SERVER_PORT: server.port: expected a whole number, found \"http\""),
        (
            &[("STORAGE_TYPE", "postgres")],
            "STORAGE_TYPE: storage.type: expected one of memory, sqlite, postgresql, mysql, cassandra, kafka, found \"postgres\"; did you mean \"postgresql\"?",
        ),
        (&[("STORAGE_TYPE", "mysql")], "storage.mysql.user is missing"),
        (&[("STORAGE_TYPE", "kafka")], "storage.kafka.bootstrap_servers is missing"),
        (
            &[("SERVER_PORT", "1"), ("SCHEMA_REGISTRY_PORT", "2")],
            "SERVER_PORT: server.port is set to something else by SCHEMA_REGISTRY_PORT",
        ),
        (
            &[("SCHEMA_REGISTRY_AUTH_ENABLED", "true")],
            "variable SCHEMA_REGISTRY_AUTH_ENABLED: not yet supported: authentication",
        ),
        (&[("SCHEMA_REGISTRY_LDAP_URL", "ldap://x")], "SCHEMA_REGISTRY_LDAP_URL: not yet supported"),
        (&[("SCHEMA_REGISTRY_TLS_CERT_FILE", "/x")], "unset it, or set SCHEMA_REGISTRY_TLS_ENABLED=false"),
        (&[("SCHEMA_REGISTRY_VAULT_ADDRESS", "x")], "not yet supported: Vault"),
    ] {
        let error = parse("", "", &[], &Vars(vars), false).expect_err(words).to_string();
        assert!(error.contains(words) && !error.starts_with(':'), "{words}\n{error}");
    }
    for off in [
        &[
            ("SCHEMA_REGISTRY_AUTH_ENABLED", "false"),
            ("SCHEMA_REGISTRY_LDAP_URL", "ldap://x"),
            ("SCHEMA_REGISTRY_AUTH_METHODS", "basic"),
        ][..],
        &[
            ("SCHEMA_REGISTRY_MCP_ENABLED", "False"),
            ("SCHEMA_REGISTRY_MCP_PORT", "9081"),
            ("SCHEMA_REGISTRY_TLS_AUTO_RELOAD", "false"),
        ],
    ] {
        assert_eq!(parse("", "", &[], &Vars(off), false).expect("harmless").notices, []);
    }
}

#[test]
fn what_kubernetes_adds_is_passed_over_and_the_unknown_is_told() {
    let config = good(
        "",
        &[
            ("SCHEMA_REGISTRY_PORT", "tcp://10.96.0.7:8081"),
            ("SCHEMA_REGISTRY_SERVICE_HOST", "10.96.0.7"),
            ("SCHEMA_REGISTRY_SERVICE_PORT", "8081"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP", "tcp://10.96.0.7:8081"),
            ("SCHEMA_REGISTRY_PORT_8081_TCP_ADDR", "10.96.0.7"),
            ("SCHEMA_REGISTRY_METRICS_PORT", "tcp://10.96.0.8:9090"),
            ("SCHEMA_REGISTRY_MCP_SERVICE_HOST", "10.96.0.9"),
            ("POSTGRES_PORT", "tcp://10.96.0.10:5432"),
            ("MYSQL_PORT", "tcp://10.96.0.11:3306"),
            ("SERVER_PORT", "8082"),
        ],
    );
    assert_eq!((config.server.port, config.notices.len()), (8082, 0), "{}", messages(&config));
    let config = good(
        "",
        &[("SCHEMA_REGISTRY_LOG_LEVL", "debug"), ("SCHEMA_REGISTRY_KAFKASTORE_UPDATE_HANDLERS", "x")],
    );
    let notices = messages(&config);
    assert!(
        notices.contains(
            "SCHEMA_REGISTRY_LOG_LEVL means nothing to this registry; did you mean SCHEMA_REGISTRY_LOG_LEVEL?"
        ),
        "{notices}"
    );
    assert!(notices.contains("SCHEMA_REGISTRY_KAFKASTORE_UPDATE_HANDLERS means nothing"), "{notices}");
}

#[test]
fn the_folder_of_systemd_is_the_default_and_the_first_of_several() {
    let folder = |vars| match good("", vars).store {
        StoreSettings::Sqlite(settings) => settings.folder,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        folder(&[("STATE_DIRECTORY", "/var/lib/replevin:/var/lib/other")]),
        PathBuf::from("/var/lib/replevin")
    );
    assert_eq!(
        folder(&[("STATE_DIRECTORY", "/var/lib/replevin"), ("SCHEMA_REGISTRY_DATA_DIR", "/data:1")]),
        PathBuf::from("/data:1")
    );
    let other = good("", &[("STATE_DIRECTORY", "/x"), ("STORAGE_TYPE", "memory")]);
    assert!(!messages(&other).contains("sqlite"), "{}", messages(&other));
}

#[test]
fn dollars_of_a_file_stay_unless_a_variable_is_set() {
    let text = "storage:\n  type: mysql\n  mysql:\n    user: ${USER_NAME}\n    password: $2a$10$${kept}${UNSET}\n    host: ${HOST:-db}\n";
    let config = good(text, &[("USER_NAME", "u")]);
    assert_eq!(sql(&config).password.expose(), "$2a$10${kept}${UNSET}");
    assert_eq!((sql(&config).user.as_str(), sql(&config).host.as_str()), ("u", "db"));
    assert!(
        messages(&config).contains("f:5:15: variable UNSET is not set: ${UNSET} is kept"),
        "{}",
        messages(&config)
    );
}

#[test]
fn secrets_stay_hidden() {
    let config = good("storage: {type: postgresql, postgresql: {user: u, password: hunter2}}\n", &[]);
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = from("storage: {postgresql: {password: [hunter2]}}\n", &[]).expect_err("a list");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn an_empty_text_is_as_good_as_none() {
    let text = "server: {cluster_id: \"\"}\nstorage:\n  type: postgresql\n  postgresql: {user: u, password: \"\", ca_file: ''}\n";
    let config = good(text, &[]);
    assert_eq!(config.cluster_id, "");
    assert_eq!((sql(&config).password.expose(), &sql(&config).ca_file), ("", &None));
}

#[test]
fn unknown_keys_are_notices_where_that_was_asked_for() {
    let text = "server: {prot: 1}\n";
    let error = from(text, &[]).expect_err("unknown");
    assert!(error.contains("did you mean \"port\"?"), "{error}");
    let config = parse("f", text, &[], &Vars(&[]), true).expect("lenient");
    assert!(config.notices.iter().any(|notice| notice.message.contains("\"port\"")), "{:?}", config.notices);
    parse("f", "server: {port: x}\n", &[], &Vars(&[]), true).expect_err("a wrong value stays wrong");
}

//! The way to a cluster: waiting for it, the keyspace, the tables.

use super::statements::{CREATE, Statements, TABLES};
use super::{CassandraSettings, CassandraStore, Result, StoreError};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two attempts to reach a cluster at start.
const START_PAUSE: Duration = Duration::from_millis(500);
/// Replicas that are made where nothing is set, if there are as many nodes.
const REPLICAS: u32 = 3;
/// Letters that a keyspace's name may have, which is put into statements as it is.
const LONGEST_KEYSPACE: usize = 48;

impl CassandraStore {
    /// Connects, waiting for a cluster that still starts, and makes the keyspace and the tables where they are missing.
    pub async fn connect(settings: &CassandraSettings) -> Result<Self> {
        let place = format!("keyspace {:?} at {}", settings.keyspace, settings.hosts.join(", "));
        let wrong =
            |what: &str, why: &dyn Display| StoreError::Unavailable(format!("{place}: {what}: {why}"));
        let name = &settings.keyspace;
        let letters = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if name.is_empty() || name.len() > LONGEST_KEYSPACE || !letters {
            return Err(wrong("no name of a keyspace", &"48 letters, digits and underscores at most"));
        }
        let (session, local) = reach(settings, &place).await?;
        let deadline = Instant::now() + settings.start_timeout;
        // Of several instances that start at once each may do it: what is there already is left as it is.
        let statements = loop {
            let made = async {
                make_tables(&session, settings).await?;
                check_replicas(&session, settings, local.as_deref()).await
            };
            let error = match made.await {
                Ok(()) => match Statements::prepare(&session, settings).await {
                    Ok(statements) => break statements,
                    Err(error) => wrong("cannot use the tables", &error),
                },
                Err(error) => wrong("cannot make the tables", &error),
            };
            if Instant::now() + START_PAUSE >= deadline {
                return Err(error);
            }
            tracing::warn!(%error, "the tables are not there yet");
            sleep(START_PAUSE).await;
        };
        let store = Self { place, limit: settings.operation_timeout, session, statements };
        store.found(settings).await?;
        tracing::info!(place = %store.place, tables = TABLES, "Cassandra store opened");
        Ok(store)
    }

    /// Looks at the version of the tables, and makes that and the epoch where they are missing and nobody is faster. What is there is
    /// only read: an instance starts also without the data centres that would have to agree.
    async fn found(&self, settings: &CassandraSettings) -> Result<()> {
        let text = format!(
            "INSERT INTO \"{}\".store (one, epoch, version) VALUES (1, uuid(), {TABLES}) IF NOT EXISTS",
            settings.keyspace
        );
        let mut statement = Statement::new(text);
        statement.set_consistency(settings.write_consistency);
        statement.set_serial_consistency(Some(settings.serial_consistency));
        let deadline = Instant::now() + settings.start_timeout;
        let version = loop {
            let found = async {
                if let Some(version) = self.read_version().await? {
                    return Ok(version);
                }
                let made = self.session.query_unpaged(statement.clone(), &[]).await;
                made.map_err(|error| super::before(&self.place, &error))?;
                let late = || format!("{}: what founds the store has not arrived here yet", self.place);
                self.read_version().await?.ok_or_else(|| StoreError::Unavailable(late()))
            };
            // Also where the answer is lost: who looks again finds what was made.
            let error = match found.await {
                Ok(version) => break version,
                Err(error) => error,
            };
            if Instant::now() + START_PAUSE >= deadline {
                return Err(error);
            }
            tracing::warn!(place = %self.place, %error, "the store cannot be founded yet");
            sleep(START_PAUSE).await;
        };
        if version > TABLES {
            return Err(StoreError::Unavailable(format!(
                "{}: its tables have version {version}, and this program knows versions up to {TABLES}: a newer one has made them; run that one",
                self.place
            )));
        }
        Ok(())
    }
}

/// A session with the nodes of one data centre, and the name of that.
async fn reach(settings: &CassandraSettings, place: &str) -> Result<(Session, Option<String>)> {
    let deadline = Instant::now() + settings.start_timeout;
    let tls = settings.ca_file.as_deref().map(tls).transpose();
    let tls = tls.map_err(|why| StoreError::Unavailable(format!("{place}: TLS: {why}")))?;
    let mut profile = ExecutionProfile::builder()
        .consistency(settings.write_consistency)
        .serial_consistency(Some(settings.serial_consistency))
        .request_timeout(Some(settings.operation_timeout))
        // What may be tried again is decided here and not in the driver.
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .build()
        .into_handle();
    loop {
        let mut builder = SessionBuilder::new()
            .known_nodes(&settings.hosts)
            .connection_timeout(settings.connect_timeout)
            .default_execution_profile_handle(profile.clone())
            .tls_context(tls.clone());
        if let Some(user) = &settings.user {
            builder = builder.user(user, settings.password.as_ref().map_or("", |password| password.expose()));
        }
        let why = match builder.build().await {
            Ok(session) => match local_data_centre(&session, settings).await {
                Ok(local) => {
                    if let Some(local) = &local {
                        let policy = DefaultPolicy::builder().prefer_datacenter(local.clone()).build();
                        let there = profile.pointee_to_builder().load_balancing_policy(policy).build();
                        profile.map_to_another_profile(there);
                    }
                    return Ok((session, local));
                }
                Err(why) => why,
            },
            Err(error) => error.to_string(),
        };
        if why.contains("Authentication") {
            return Err(StoreError::Unavailable(format!("{place}: {why}: check user and password")));
        }
        if Instant::now() + START_PAUSE >= deadline {
            let waited = settings.start_timeout.as_secs();
            return Err(StoreError::Unavailable(format!(
                "{place}: {why} (waited {waited} s): check hosts, port, data centre and whether the cluster asks for TLS"
            )));
        }
        tracing::warn!(place, why, "the cluster cannot be reached yet");
        sleep(START_PAUSE).await;
    }
}

/// The data centre whose nodes are talked to. Those of another one may not have yet what these have answered before.
async fn local_data_centre(
    session: &Session,
    settings: &CassandraSettings,
) -> std::result::Result<Option<String>, String> {
    let there = data_centres(session);
    if let Some(wanted) = &settings.local_dc {
        // The driver would find nobody to talk to.
        let found = there.contains_key(wanted).then(|| Some(wanted.clone()));
        return found.ok_or_else(|| {
            format!("no node is in data centre {wanted:?}, but in {:?}: check local_dc", there.keys())
        });
    }
    let state = session.get_cluster_state();
    for host in &settings.hosts {
        for address in tokio::net::lookup_host(host).await.into_iter().flatten() {
            let node = state.get_nodes_info().iter().find(|node| node.address.ip() == address.ip());
            if let Some(name) = node.and_then(|node| node.datacenter.clone()) {
                return Ok(Some(name));
            }
        }
    }
    // Behind a proxy nodes have other addresses than the hosts.
    let mut names = there.into_keys();
    match (names.next(), names.next()) {
        (None, _) => Err("no node says in which data centre it is".to_owned()),
        (only, None) => Ok(only),
        _ => {
            tracing::warn!(
                "no host is the address of a node, so nodes of all data centres are talked to: set local_dc"
            );
            Ok(None)
        }
    }
}

fn tls(file: &std::path::Path) -> std::result::Result<Arc<rustls::ClientConfig>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let wrong = |why: &dyn Display| format!("{}: {why}", file.display());
    let mut authorities = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        authorities.add(certificate).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| wrong(&error))?.with_root_certificates(authorities);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Makes what is missing. A table's id follows from its name: two nodes that make the same table at the same moment would otherwise
/// make two, of which one gets lost with what was written to it.
async fn make_tables(session: &Session, settings: &CassandraSettings) -> std::result::Result<(), String> {
    let keyspace = &settings.keyspace;
    let there: Vec<String> = names(
        session,
        &format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"),
    )
    .await?;
    if CREATE.iter().all(|(table, _)| there.iter().any(|name| name == table)) {
        return Ok(());
    }
    let keyspaces =
        format!("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'");
    if names(session, &keyspaces).await?.is_empty() {
        // In all of them: instances in each are to find everything at home.
        let mut replication = "'class': 'NetworkTopologyStrategy'".to_owned();
        for (data_centre, nodes) in data_centres(session) {
            let replicas = settings.replication_factor.unwrap_or_else(|| REPLICAS.min(nodes)).max(1);
            tracing::info!(keyspace, data_centre, replicas, "making the keyspace");
            let _ = write!(replication, ", '{}': {replicas}", data_centre.replace('\'', "''"));
        }
        run(
            session,
            &format!("CREATE KEYSPACE IF NOT EXISTS \"{keyspace}\" WITH replication = {{{replication}}}"),
        )
        .await?;
    }
    for (table, columns) in CREATE {
        if !there.iter().any(|name| name == table) {
            let hash = blake3::hash(format!("replevin {keyspace} {table}").as_bytes());
            let mut id = [0; 16];
            id.copy_from_slice(&hash.as_bytes()[..16]);
            let id = uuid::Builder::from_random_bytes(id).into_uuid();
            run(
                session,
                &format!("CREATE TABLE IF NOT EXISTS \"{keyspace}\".{table} ({columns}) WITH id = {id}"),
            )
            .await?;
        }
    }
    session.await_schema_agreement().await.map(drop).map_err(|error| error.to_string())
}

async fn run(session: &Session, text: &str) -> std::result::Result<(), String> {
    session.query_unpaged(text, &[]).await.map(drop).map_err(|error| error.to_string())
}

async fn names(session: &Session, text: &str) -> std::result::Result<Vec<String>, String> {
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::One);
    let found = session.query_unpaged(statement, &[]).await.map_err(|error| error.to_string())?;
    let found = found.into_rows_result().map_err(|error| error.to_string())?;
    let rows = found.rows::<(String,)>().map_err(|error| error.to_string())?;
    rows.map(|row| row.map(|(name,)| name).map_err(|error| error.to_string())).collect()
}

/// The data centres of the cluster, with the number of nodes in each. All as one node has told it: a question for itself and one for
/// its peers may go to two nodes, and then one of these is counted twice, and the other not at all.
fn data_centres(session: &Session) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for node in session.get_cluster_state().get_nodes_info() {
        if let Some(name) = &node.datacenter {
            *all.entry(name.clone()).or_default() += 1;
        }
    }
    all
}

/// Where answers are asked of the own data centre alone, a keyspace that somebody has made must have replicas there.
async fn check_replicas(
    session: &Session,
    settings: &CassandraSettings,
    local: Option<&str>,
) -> std::result::Result<(), String> {
    let is_local = |asked: Consistency| matches!(asked, Consistency::LocalQuorum | Consistency::LocalOne);
    if !is_local(settings.read_consistency) && !is_local(settings.write_consistency) {
        return Ok(());
    }
    let keyspace = &settings.keyspace;
    let text = format!("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'");
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::One);
    let found = session.query_unpaged(statement, &[]).await.map_err(|error| error.to_string())?;
    let found = found.into_rows_result().map_err(|error| error.to_string())?;
    let row = found.maybe_first_row::<(BTreeMap<String, String>,)>().map_err(|error| error.to_string())?;
    let (Some((replication,)), Some(local)) = (row, local) else { return Ok(()) };
    let by_place = replication.get("class").is_some_and(|class| class.ends_with("NetworkTopologyStrategy"));
    if by_place && !replication.contains_key(local) {
        return Err(format!(
            "the keyspace has no replicas in data centre {local:?}, which its answers are asked of: ALTER KEYSPACE \"{keyspace}\" \
             WITH replication = {{..., '{local}': 3}} and repair it, or set local_dc to one of {:?}",
            replication.keys().filter(|name| *name != "class").collect::<Vec<_>>()
        ));
    }
    Ok(())
}

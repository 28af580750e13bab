//! What a client needs to be told: where the registry is, who asks, and how hard. Values only.

use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;

/// How to reach a registry.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Where it answers. Several are instances of one registry: they are tried in turn, and the one that answers is kept.
    pub urls: Vec<String>,
    /// Who asks.
    pub auth: Auth,
    /// How connections are secured.
    pub tls: Tls,
    /// Further headers of every request to the registry: an API key, for one.
    pub headers: Vec<(String, Secret)>,
    /// How long, how often, how fast, how much.
    pub limits: Limits,
    /// The program, as `User-Agent` names it.
    pub user_agent: String,
}

impl ClientSettings {
    /// A registry at some URLs, without credentials. A user and a password in a URL are taken for [`Auth::Basic`] by the client.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            auth: Auth::None,
            tls: Tls::default(),
            headers: Vec::new(),
            limits: Limits::default(),
            user_agent: concat!("replevin/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Who asks. A client certificate is told in [`Tls`], and may come beside any of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// A user with a password; for Confluent Cloud an API key with its secret.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that somebody else made and that does not change.
    Bearer(Bearer, Secret),
    /// A token that is asked for with client credentials, and asked for again before it expires.
    OAuth(Bearer, OAuth),
}

/// What Confluent Cloud wants to know beside a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bearer {
    /// `bearer.auth.logical.cluster`: sent as `target-sr-cluster`.
    pub logical_cluster: Option<String>,
    /// `bearer.auth.identity.pool.id`: sent as `Confluent-Identity-Pool-Id`.
    pub identity_pool: Option<String>,
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// Where tokens are made.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What the token is to be good for.
    pub scope: Option<String>,
}

/// How connections are secured.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates (PEM) of those who may vouch for the registry: these and no others. Nothing stands for those of the machine.
    /// For the issuer of tokens they count beside those of the machine.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate, with what vouches for it (PEM), and its key (PEM); only the registry sees it.
    pub identity: Option<(Vec<u8>, Secret)>,
    /// Whom the client believes.
    pub trust: Trust,
}

/// Whom a client believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Who has a certificate in the name of the URL's host.
    #[default]
    Verified,
    /// Anybody. Passwords and schemas are open to whoever stands between.
    Anybody,
}

/// Requests at once that a stream and its reader need, or they wait for each other for ever.
pub(super) const LEAST_IN_FLIGHT: usize = 4;

/// How long, how often, how fast, how much.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the first byte of a request to the last one of its answer.
    pub request: Duration,
    /// Attempts after the first one, where a request may be sent again. Of several instances each is asked once in an attempt.
    pub retries: u32,
    /// Pauses between attempts grow from this...
    pub pause: Duration,
    /// ... to this. It also bounds what a registry may ask for by `Retry-After`.
    pub longest_pause: Duration,
    /// Requests a second; 0 is as fast as the registry answers.
    pub per_second: u32,
    /// Requests at once; at least four.
    pub in_flight: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// Entries of a list that one request asks for.
    pub page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            retries: 6,
            pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(20),
            per_second: 0,
            in_flight: 8,
            answer_bytes: 64 << 20,
            page: 1000,
        }
    }
}

/// Random numbers, which only the caller may ask the machine for.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

//! Sends requests: to the instance that answered last, and to the next one where it does not; again where that does no harm.
//!
//! Repeated are requests that reached nobody, and those that were answered with 429 or 5xx or not at all. All of the API may be
//! repeated, for the same text under the same subject is the same version, and a setting that is set twice is set. Only a
//! repeated deletion may find its work done: then [`Sent::repeated`] says that it may have been its own.

use super::error::{Error, ErrorKind, Result};
use super::pace::{Pace, pause};
use super::place;
use super::settings::{Auth, Bearer, ClientSettings, Limits, Random, Tls, Trust};
use super::token::Tokens;
use crate::secret::Secret;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What Confluent's clients send and accept.
const TYPE: &str = "application/vnd.schemaregistry.v1+json";
const ACCEPTED: &str =
    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json";

/// Characters of an answer that is no JSON which an error shows.
const SHOWN: usize = 120;

/// Sends requests to one registry.
pub(super) struct Sender {
    http: reqwest::Client,
    urls: Vec<Url>,
    /// The place in `urls` of the instance that answered last.
    current: AtomicUsize,
    auth: Auth,
    tokens: Option<Tokens>,
    limits: Limits,
    pace: Pace,
    turns: Semaphore,
    random: Random,
}

/// A good answer.
pub(super) struct Sent {
    pub(super) body: Bytes,
    /// An earlier attempt may have been carried out without an answer.
    pub(super) repeated: bool,
}

/// A bad answer, with what decides about another attempt.
struct Failed {
    error: Error,
    again: bool,
    /// The registry may have done what it was asked.
    unknown: bool,
    asked: Option<Duration>,
}

#[derive(Deserialize)]
struct Complaint {
    error_code: Option<u32>,
    message: Option<String>,
}

impl Sender {
    pub(super) fn new(settings: ClientSettings, random: Random) -> Result<Self> {
        let (urls, from_url) = place::read(&settings.urls)?;
        let auth = match settings.auth {
            Auth::None => from_url.unwrap_or_default(),
            other => other,
        };
        let limits = settings.limits;
        let tokens = match &auth {
            Auth::OAuth(_, oauth) => {
                let http = issuers_http(&limits, &settings.tls, &settings.user_agent)?;
                Some(Tokens::new(oauth.clone(), http))
            }
            _ => None,
        };
        let http = http(&limits, &settings.tls, &settings.headers, &auth, &settings.user_agent)?;
        Ok(Self {
            http,
            urls,
            current: AtomicUsize::new(0),
            auth,
            tokens,
            pace: Pace::new(limits.per_second),
            turns: Semaphore::new(limits.in_flight.max(super::settings::LEAST_IN_FLIGHT)),
            limits,
            random,
        })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The registry, for messages and reports: its first URL, which has no credentials in it.
    pub(super) fn name(&self) -> String {
        self.urls.first().map_or_else(String::new, |url| url.as_str().trim_end_matches('/').to_owned())
    }

    /// All URLs, without credentials.
    pub(super) fn places(&self) -> String {
        let urls: Vec<&str> = self.urls.iter().map(|url| url.as_str().trim_end_matches('/')).collect();
        urls.join(",")
    }

    /// Asks until there is an answer, or no attempt is left.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<Bytes>,
    ) -> Result<Sent> {
        let Ok(_turn) = self.turns.acquire().await else {
            return Err(Error::new(ErrorKind::Away, "the client was closed"));
        };
        let instances = u32::try_from(self.urls.len()).unwrap_or(1);
        let (mut attempts, mut repeated) = (0_u32, false);
        loop {
            let at = self.current.load(Ordering::Relaxed) % self.urls.len();
            let url = place::at(&self.urls[at], path, query);
            self.pace.turn().await;
            let failed = match self.attempt(&method, &url, body.clone()).await {
                Ok(body) => return Ok(Sent { body, repeated }),
                Err(failed) => failed,
            };
            attempts += 1;
            // As many attempts as there are instances are one round.
            let rounds = attempts / instances;
            if !failed.again || rounds > self.limits.retries {
                let error = failed.error;
                return match repeated && method == Method::DELETE && error.status() == Some(404) {
                    true => Ok(Sent { body: Bytes::new(), repeated }),
                    false => Err(error),
                };
            }
            repeated |= failed.unknown;
            // Another request may have moved on already.
            let next = (at + 1) % self.urls.len();
            let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
            if attempts.is_multiple_of(instances) || failed.asked.is_some() {
                let pause = pause(&self.limits, rounds.saturating_sub(1), failed.asked, &self.random);
                tokio::time::sleep(pause).await;
            }
            tracing::debug!(%method, %url, attempts, error = %failed.error, "asking a registry again");
        }
    }

    async fn attempt(&self, method: &Method, url: &Url, body: Option<Bytes>) -> Result<Bytes, Failed> {
        let mut renewed = false;
        loop {
            let token = match &self.tokens {
                Some(tokens) => Some(tokens.token().await.map_err(Failed::of_token)?),
                None => None,
            };
            let mut request = self.http.request(method.clone(), url.clone());
            request = match (&self.auth, &token) {
                (Auth::Basic { user, password }, _) => request.basic_auth(user, Some(password.expose())),
                (Auth::Bearer(_, token), _) | (_, Some(token)) => request.bearer_auth(token.expose()),
                _ => request,
            };
            if let Some(body) = &body {
                request = request.header("Content-Type", TYPE).body(body.clone());
            }
            let answer = request.send().await.map_err(|error| Failed::without_answer(method, url, error))?;
            // A token may be revoked before its time.
            if let (401, Some(tokens), Some(token), false) =
                (answer.status().as_u16(), &self.tokens, &token, renewed)
            {
                tokens.forget(token).await;
                renewed = true;
                continue;
            }
            return self.read(method, url, answer).await;
        }
    }

    async fn read(&self, method: &Method, url: &Url, answer: Response) -> Result<Bytes, Failed> {
        let (status, asked) = (answer.status(), retry_after(answer.headers()));
        let place = answer.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
        let body = match body(answer, self.limits.answer_bytes).await {
            Ok(body) => body,
            Err(Cut::TooLarge) => {
                let limit = self.limits.answer_bytes;
                let text = format!("{method} {url}: the answer is larger than {limit} bytes");
                let error =
                    Error::new(ErrorKind::TooLarge, text).hint("check that the URL is that of a registry");
                return Err(Failed { error, again: false, unknown: true, asked: None });
            }
            Err(Cut::Lost(why)) => {
                let error =
                    Error::new(ErrorKind::Away, format!("{method} {url}: the answer broke off: {why}"))
                        .answered(status.as_u16(), None);
                return Err(Failed { error, again: true, unknown: true, asked: None });
            }
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(Failed::of_answer(method, url, status, place, &body, asked))
    }
}

impl Failed {
    fn of_token(error: Error) -> Self {
        let again = error.kind() == ErrorKind::Away;
        Self { error, again, unknown: false, asked: None }
    }

    fn without_answer(method: &Method, url: &Url, error: reqwest::Error) -> Self {
        let (connecting, timed_out) = (error.is_connect(), error.is_timeout());
        let why = why(error.without_url());
        let what = if timed_out { "no answer in time" } else { "no answer" };
        // TLS's own words for what the registry thinks of the client's certificate.
        let refused =
            why.contains("fatal alert: ") && (why.contains("Certificate") || why.contains("UnknownCA"));
        let certificate = refused || why.contains("certificate") || why.contains("corrupt message");
        let next = if refused {
            "give a client's certificate that the registry believes: ssl.certificate.location and ssl.key.location"
        } else if certificate {
            "check the URL's scheme and host, and who signed the registry's certificate: ssl.ca.location says who may"
        } else {
            "check the URL, and that the registry runs and can be reached from here"
        };
        let kind = if certificate { ErrorKind::Settings } else { ErrorKind::Away };
        let error = Error::new(kind, format!("{method} {url}: {what}: {why}")).hint(next);
        Self { error, again: !certificate, unknown: !connecting, asked: None }
    }

    fn of_answer(
        method: &Method,
        url: &Url,
        status: StatusCode,
        place: Option<String>,
        body: &[u8],
        asked: Option<Duration>,
    ) -> Self {
        let complaint = serde_json::from_slice::<Complaint>(body).ok();
        let code = complaint.as_ref().and_then(|complaint| complaint.error_code);
        let number = status.as_u16();
        let said = match complaint.and_then(|complaint| complaint.message) {
            Some(message) => message,
            None => place.map_or_else(|| excerpt(body), |place| format!("it is at {place} now")),
        };
        let code_text = code
            .filter(|code| *code != u32::from(number))
            .map_or_else(String::new, |code| format!("/{code}"));
        let message = format!("{method} {url}: {number}{code_text}: {said}");
        let (kind, next) = match number {
            401 => {
                let next = "check the user and the password (basic.auth.user.info), or the token (bearer.auth.token)";
                (ErrorKind::Credentials, Some(next))
            }
            403 => {
                (ErrorKind::Credentials, Some("give this user the right to do that, or ask as another one"))
            }
            // Only a registry says what is missing; anybody else has another path below this URL.
            404 | 405 if code.is_some() => (ErrorKind::Absent, None),
            404 | 405 => (
                ErrorKind::Absent,
                Some("check the path of the URL: who answers there does not seem to be a registry"),
            ),
            // Our own registry, of a list.
            422 if code == Some(42209) && *method == Method::GET => (ErrorKind::TooLarge, None),
            408 | 429 => (ErrorKind::Away, Some("try again later, or ask for less a second")),
            300..=399 => {
                (ErrorKind::Strange, Some("give the URL that it leads to; this client follows no redirects"))
            }
            500.. => (ErrorKind::Away, Some("look at the registry's log")),
            _ => (ErrorKind::Refused, None),
        };
        let mut error = Error::new(kind, message).answered(number, code).of_page(is_page(body));
        if let Some(next) = next {
            error = error.hint(next);
        }
        let again = matches!(number, 408 | 429 | 500 | 502..=599);
        Self { error, again, unknown: number >= 500, asked }
    }
}

/// Whether a bad answer is nothing that a registry says. They say JSON, which for Karapace may be a mere text, or nothing; and older
/// releases of Karapace leave paths that they do not serve to their web server, which has words of its own for that.
fn is_page(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let is_json = || matches!(serde_json::from_slice(body), Ok(Value::Object(_) | Value::String(_)));
    !body.is_empty() && body != b"404: Not Found" && !is_json()
}

/// Why an answer could not be read whole.
#[derive(Debug)]
pub(super) enum Cut {
    TooLarge,
    Lost(String),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Lost(why) => write!(f, "the answer broke off: {why}"),
        }
    }
}

/// The body of an answer, of so many bytes at most.
pub(super) async fn body(mut answer: Response, limit: usize) -> Result<Bytes, Cut> {
    let told = answer.content_length().unwrap_or(0);
    if told > limit as u64 {
        return Err(Cut::TooLarge);
    }
    let mut whole = Vec::with_capacity(usize::try_from(told).unwrap_or(0));
    while let Some(piece) = answer.chunk().await.map_err(|error| Cut::Lost(why(error.without_url())))? {
        if whole.len() + piece.len() > limit {
            return Err(Cut::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

/// The innermost cause, which is the one that says something.
pub(super) fn why(error: reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The beginning of what is no JSON, on one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "without a word".to_owned();
    }
    let shown: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    format!("{shown:?}")
}

/// `Retry-After` in seconds; a date is left to the usual pauses, for it is a matter of whose clock is right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn unusable(what: &str, why: String) -> Error {
    Error::new(ErrorKind::Settings, format!("{what} cannot be used: {why}"))
}

/// What connections to the registry and to the issuer of tokens have in common.
fn builder(limits: &Limits, tls: &Tls, user_agent: &str) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(limits.connect)
        .timeout(limits.request)
        .pool_max_idle_per_host(limits.in_flight)
        .tls_danger_accept_invalid_certs(tls.trust == Trust::Anybody)
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| unusable("the settings of TLS", why(error)))
}

/// The certificates of those who may vouch, where any were given.
fn authorities(tls: &Tls) -> Result<Option<Vec<reqwest::Certificate>>> {
    let Some(pem) = &tls.ca else { return Ok(None) };
    let certificates = reqwest::Certificate::from_pem_bundle(pem)
        .map_err(|error| unusable("the CA's certificate", why(error)))?;
    if certificates.is_empty() {
        return Err(unusable("the CA's certificate", "there is no PEM certificate in it".to_owned()));
    }
    Ok(Some(certificates))
}

/// For the issuer of tokens, which often is a public one beside a private registry: the machine's authorities count as well, and
/// neither headers nor the client's certificate are shown to it.
fn issuers_http(limits: &Limits, tls: &Tls, user_agent: &str) -> Result<reqwest::Client> {
    let builder = builder(limits, tls, user_agent);
    built(match authorities(tls)? {
        Some(certificates) => builder.tls_certs_merge(certificates),
        None => builder,
    })
}

fn http(
    limits: &Limits,
    tls: &Tls,
    more: &[(String, Secret)],
    auth: &Auth,
    user_agent: &str,
) -> Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static(ACCEPTED));
    headers.insert("confluent-accept-unknown-properties", HeaderValue::from_static("true"));
    let mut add = |name: &str, value: &str| {
        let named = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
        let Some((name, mut value)) = named else {
            return Err(unusable(
                &format!("header {name:?}"),
                "it has characters that no header has".to_owned(),
            ));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    };
    if let Auth::Bearer(bearer, _) | Auth::OAuth(bearer, _) = auth {
        let Bearer { logical_cluster, identity_pool } = bearer;
        for (name, value) in
            [("target-sr-cluster", logical_cluster), ("confluent-identity-pool-id", identity_pool)]
        {
            if let Some(value) = value {
                add(name, value)?;
            }
        }
    }
    for (name, value) in more {
        add(name, value.expose())?;
    }
    let mut builder = builder(limits, tls, user_agent).default_headers(headers);
    if let Some(certificates) = authorities(tls)? {
        builder = builder.tls_certs_only(certificates);
    }
    if let Some((certificate, key)) = &tls.identity {
        let mut pem = certificate.clone();
        pem.push(b'\n');
        pem.extend_from_slice(key.expose().as_bytes());
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|error| unusable("the client's certificate and key", why(error)))?;
        builder = builder.identity(identity);
    }
    built(builder)
}

//! Tokens by client credentials (OAuth 2.0): asked for once, kept, and asked for again before they expire.

use super::error::{Error, ErrorKind, Result};
use super::place::encoded;
use super::settings::OAuth;
use crate::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A token is renewed when less than this is left, or less than a fifth of its life.
const MARGIN: Duration = Duration::from_secs(30);

/// Bytes of a token's answer at most.
const MAX_ANSWER: usize = 1 << 20;

/// A token that does not say how long it lives is taken to live this long.
const UNTOLD: Duration = Duration::from_secs(300);

/// No token is taken to live longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps a token.
#[derive(Debug)]
pub(super) struct Tokens {
    settings: OAuth,
    http: reqwest::Client,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug, Clone)]
struct Kept {
    token: Secret,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Value,
}

impl Answer {
    /// How long the token lives. Some issuers write the number as a text.
    fn life(&self) -> Duration {
        let seconds = self.expires_in.as_f64().or_else(|| self.expires_in.as_str()?.trim().parse().ok());
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        life.unwrap_or(UNTOLD).min(LONGEST)
    }
}

impl Tokens {
    /// `http` is the issuer's own: what the registry is told beside a question is none of its business.
    pub(super) fn new(settings: OAuth, http: reqwest::Client) -> Self {
        Self { settings, http, kept: Mutex::new(None) }
    }

    /// A token that is good for some time. Requests that need one at once ask for it once.
    pub(super) async fn token(&self) -> Result<Secret> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.renew_at) {
            return Ok(kept.token.clone());
        }
        let (token, life) = self.ask().await?;
        let renew_at = Instant::now() + life.saturating_sub(MARGIN.min(life / 5));
        *kept = Some(Kept { token: token.clone(), renew_at });
        Ok(token)
    }

    /// Forgets a token that was refused.
    pub(super) async fn forget(&self, refused: &Secret) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token == *refused) {
            *kept = None;
        }
    }

    async fn ask(&self) -> Result<(Secret, Duration)> {
        let OAuth { token_url, client_id, client_secret, scope } = &self.settings;
        let form = {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "client_credentials");
            if let Some(scope) = scope {
                form.append_pair("scope", scope);
            }
            form.finish()
        };
        // RFC 6749, 2.3.1: both are encoded as in a form, and then once more as a user and a password are.
        let asked = self
            .http
            .post(token_url)
            .basic_auth(encoded(client_id), Some(encoded(client_secret.expose())))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "application/json")
            .body(form);
        let failed = |kind, why: String| {
            Error::new(kind, format!("no token for client {client_id:?}: {why}"))
                .hint("check the issuer's URL, the client's id, its secret and the scope")
        };
        let answer = asked
            .send()
            .await
            .map_err(|error| failed(ErrorKind::Away, super::send::why(error.without_url())))?;
        let status = answer.status().as_u16();
        let body = super::send::body(answer, MAX_ANSWER)
            .await
            .map_err(|why| failed(ErrorKind::Away, why.to_string()))?;
        if status != 200 {
            let kind = if status >= 500 || status == 429 { ErrorKind::Away } else { ErrorKind::Credentials };
            return Err(failed(kind, format!("the issuer answered {status}")).answered(status, None));
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| failed(ErrorKind::Strange, "the issuer's answer has no access_token".to_owned()))?;
        let life = answer.life();
        Ok((Secret::new(answer.access_token), life))
    }
}

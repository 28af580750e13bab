//! Settings by the names that Confluent's own clients have for them: `schema.registry.url`, `basic.auth.user.info`, ...
//!
//! Java's names may have `schema.registry.` before them. A file of properties usually holds a Kafka client's settings too; what is
//! none of ours is passed over, unless it begins as ours do: then it is a slip of the pen, and an error.

use super::settings::{Auth, Bearer, ClientSettings, OAuth, Tls, Trust};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What is understood, with what it means.
const KNOWN: [(&str, &str); 25] = [
    ("schema.registry.url", "URLs, with commas between them"),
    ("basic.auth.credentials.source", "USER_INFO or URL"),
    ("basic.auth.user.info", "USER:PASSWORD"),
    ("bearer.auth.credentials.source", "STATIC_TOKEN or OAUTHBEARER"),
    ("bearer.auth.token", "a token that does not change"),
    ("bearer.auth.issuer.endpoint.url", "where tokens are made"),
    ("bearer.auth.client.id", "client of the issuer"),
    ("bearer.auth.client.secret", "its secret"),
    ("bearer.auth.scope", "scope of the token"),
    ("bearer.auth.logical.cluster", "Confluent Cloud's name of the registry"),
    ("bearer.auth.identity.pool.id", "Confluent Cloud's identity pool"),
    ("ssl.ca.location", "PEM file of those who vouch for the registry"),
    ("ssl.certificate.location", "PEM file of the client's certificate"),
    ("ssl.key.location", "PEM file of its key"),
    ("ssl.truststore.location", "as ssl.ca.location"),
    ("ssl.truststore.type", "PEM"),
    ("ssl.keystore.location", "PEM file with certificate and key"),
    ("ssl.keystore.type", "PEM"),
    ("enable.ssl.certificate.verification", "true or false"),
    ("http.connect.timeout.ms", "until a connection stands"),
    ("http.read.timeout.ms", "until an answer is there"),
    ("max.retries", "attempts after the first one"),
    ("retries.wait.ms", "the first pause"),
    ("retries.max.wait.ms", "the longest pause"),
    ("requests.per.second", "at most; 0 is no limit"),
];

/// Begins a name that is a header's: `header.X-API-Key`.
const HEADER: &str = "header.";

/// A property that cannot be meant, in words; nothing of its value is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyError(String);

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PropertyError {}

type Result<T> = std::result::Result<T, PropertyError>;

/// Settings from properties. `read` gives the bytes of a file.
pub fn from_properties(
    properties: &BTreeMap<String, String>,
    read: impl Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<ClientSettings> {
    let known = known(properties)?;
    let get = |name: &str| known.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let file = |name: &str| {
        let read = |path: &str| {
            read(Path::new(path))
                .map_err(|error| PropertyError(format!("{name}: {path} cannot be read: {error}")))
        };
        get(name).map(read).transpose()
    };
    let number = |name: &str| {
        let parsed = get(name).map(|text| text.trim().parse::<u32>());
        parsed.transpose().map_err(|_| PropertyError(format!("{name} is a number from 0 to 4294967295")))
    };
    for name in ["ssl.truststore.type", "ssl.keystore.type"] {
        if get(name).is_some_and(|kind| !kind.eq_ignore_ascii_case("PEM")) {
            return Err(PropertyError(format!(
                "{name}: only PEM is read; convert the store with keytool or openssl"
            )));
        }
    }
    let urls = get("schema.registry.url").unwrap_or_default();
    let mut settings = ClientSettings::new(urls.split(',').map(str::trim).filter(|url| !url.is_empty()));
    settings.auth = auth(&get)?;
    let ca = match file("ssl.ca.location")? {
        Some(ca) => Some(ca),
        None => file("ssl.truststore.location")?,
    };
    let text = |bytes: Vec<u8>| Secret::new(String::from_utf8_lossy(&bytes).into_owned());
    let identity = match (file("ssl.certificate.location")?, file("ssl.key.location")?) {
        (Some(certificate), Some(key)) => Some((certificate, text(key))),
        (None, None) => file("ssl.keystore.location")?.map(|both| (Vec::new(), text(both))),
        _ => {
            return Err(PropertyError(
                "ssl.certificate.location and ssl.key.location go together".to_owned(),
            ));
        }
    };
    let trust = match get("enable.ssl.certificate.verification").map(str::trim) {
        None | Some("true") => Trust::Verified,
        Some("false") => Trust::Anybody,
        Some(_) => {
            return Err(PropertyError("enable.ssl.certificate.verification is true or false".to_owned()));
        }
    };
    settings.tls = Tls { ca, identity, trust };
    let limits = &mut settings.limits;
    let ms = |value: Option<u32>, to: &mut Duration| {
        if let Some(value) = value {
            *to = Duration::from_millis(value.into());
        }
    };
    ms(number("http.connect.timeout.ms")?, &mut limits.connect);
    ms(number("http.read.timeout.ms")?, &mut limits.request);
    ms(number("retries.wait.ms")?, &mut limits.pause);
    ms(number("retries.max.wait.ms")?, &mut limits.longest_pause);
    limits.retries = number("max.retries")?.unwrap_or(limits.retries);
    limits.per_second = number("requests.per.second")?.unwrap_or(limits.per_second);
    let headers = known.iter().filter_map(|(name, value)| Some((name.strip_prefix(HEADER)?, value)));
    settings.headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value))).collect();
    Ok(settings)
}

fn auth<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Auth> {
    let source = get("basic.auth.credentials.source");
    if let Some(other) = source.filter(|source| !matches!(*source, "USER_INFO" | "URL")) {
        let text = format!("basic.auth.credentials.source is USER_INFO or URL, and not {other}");
        return Err(PropertyError(text));
    }
    let bearer = Bearer {
        logical_cluster: get("bearer.auth.logical.cluster").map(str::to_owned),
        identity_pool: get("bearer.auth.identity.pool.id").map(str::to_owned),
    };
    let token = get("bearer.auth.token").map(|token| Auth::Bearer(bearer.clone(), Secret::new(token)));
    let oauth = match get("bearer.auth.issuer.endpoint.url") {
        None => None,
        Some(url) => {
            let needed = |name: &str| {
                let missing =
                    || PropertyError(format!("{name} is missing beside bearer.auth.issuer.endpoint.url"));
                get(name).map(str::to_owned).ok_or_else(missing)
            };
            let oauth = OAuth {
                token_url: url.to_owned(),
                client_id: needed("bearer.auth.client.id")?,
                client_secret: Secret::new(needed("bearer.auth.client.secret")?),
                scope: get("bearer.auth.scope").map(str::to_owned),
            };
            Some(Auth::OAuth(bearer, oauth))
        }
    };
    let basic = match get("basic.auth.user.info").filter(|_| source != Some("URL")) {
        None => None,
        Some(info) => {
            let (user, password) = info.split_once(':').ok_or_else(|| {
                PropertyError("basic.auth.user.info is USER:PASSWORD, with a colon".to_owned())
            })?;
            Some(Auth::Basic { user: user.to_owned(), password: Secret::new(password) })
        }
    };
    match get("bearer.auth.credentials.source") {
        None | Some("STATIC_TOKEN" | "OAUTHBEARER") => {}
        Some(other) => {
            let text =
                format!("bearer.auth.credentials.source is STATIC_TOKEN or OAUTHBEARER, and not {other}");
            return Err(PropertyError(text));
        }
    }
    let said: Vec<Auth> = [basic, token, oauth].into_iter().flatten().collect();
    match <[Auth; 1]>::try_from(said) {
        Ok([auth]) => Ok(auth),
        Err(said) if said.is_empty() => Ok(Auth::None),
        Err(_) => Err(PropertyError(
            "of basic.auth.user.info, bearer.auth.token and bearer.auth.issuer.endpoint.url only one can be meant".to_owned(),
        )),
    }
}

/// The properties that are ours, by their names without Java's prefix.
fn known(properties: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut ours = BTreeMap::new();
    for (name, value) in properties {
        let plain = match name.strip_prefix("schema.registry.") {
            Some(rest) if rest != "url" => rest,
            _ => name.as_str(),
        };
        if plain.starts_with(HEADER) || KNOWN.iter().any(|(known, _)| *known == plain) {
            ours.insert(plain.to_owned(), value.clone());
        } else if plain != name || plain.starts_with("basic.auth.") || plain.starts_with("bearer.auth.") {
            let names: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
            return Err(PropertyError(format!("property {name} is unknown; known are {}", names.join(", "))));
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ClientSettings> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        from_properties(&pairs, |path| Ok(path.display().to_string().into_bytes()))
    }

    #[test]
    fn a_clients_own_file_is_understood() {
        let settings = read(&[
            ("bootstrap.servers", "kafka:9092"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("schema.registry.url", "http://a:8081, http://b:8081"),
            ("schema.registry.basic.auth.user.info", "key:se:cret"),
            ("basic.auth.credentials.source", "USER_INFO"),
            ("ssl.ca.location", "ca.pem"),
            ("max.retries", "3"),
            ("header.X-API-Key", "k"),
        ])
        .expect("read");
        assert_eq!(settings.urls, ["http://a:8081", "http://b:8081"]);
        assert_eq!(settings.auth, Auth::Basic { user: "key".into(), password: Secret::new("se:cret") });
        assert_eq!(settings.tls.ca.as_deref(), Some(&b"ca.pem"[..]));
        assert_eq!((settings.limits.retries, settings.headers.len()), (3, 1));
        assert!(!format!("{settings:?}").contains("se:cret"), "secrets do not print");
    }

    #[test]
    fn tokens_are_static_or_asked_for() {
        let fixed = read(&[("bearer.auth.token", "t"), ("bearer.auth.logical.cluster", "lsrc-1")]);
        assert!(matches!(
            fixed.expect("read").auth,
            Auth::Bearer(Bearer { logical_cluster: Some(_), .. }, _)
        ));
        let asked = [
            ("bearer.auth.credentials.source", "OAUTHBEARER"),
            ("bearer.auth.issuer.endpoint.url", "https://issuer/token"),
            ("bearer.auth.client.id", "id"),
            ("bearer.auth.client.secret", "secret"),
        ];
        assert!(matches!(read(&asked).expect("read").auth, Auth::OAuth(..)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_its_value() {
        for wrong in [
            &[("basic.auth.user.info", "hunter2")][..],
            &[("basic.auth.user.inf", "a:hunter2")],
            &[("schema.registry.ur", "hunter2")],
            &[("basic.auth.user.info", "a:hunter2"), ("bearer.auth.token", "hunter2")],
            &[("bearer.auth.issuer.endpoint.url", "http://x"), ("bearer.auth.client.secret", "hunter2")],
            &[("ssl.certificate.location", "only")],
            &[("ssl.truststore.type", "JKS")],
            &[("max.retries", "hunter2")],
        ] {
            let error = read(wrong).expect_err("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

//! Registries that ask who is there: TLS, client certificates, users and tokens, by a server and an issuer that are not ours.

use sandbox::binary::{Finished, Replevin};
use sandbox::certificates::Certificates;
use sandbox::process::{self, Process};
use sandbox::registry::Registry;
use sandbox::scratch::{Port, Scratch, installed};
use std::path::Path;
use std::time::Duration;

struct Guarded {
    port: Port,
    issuer: Port,
    certificates: Certificates,
    /// The issuer has an authority of its own.
    issuers: Certificates,
    registry: Registry,
    _process: Process,
    scratch: Scratch,
}

impl Guarded {
    fn by(guard: &str) -> Self {
        let scratch = Scratch::new("guard");
        let certificates = Certificates::make(scratch.path());
        let folder = scratch.path().join("issuer");
        std::fs::create_dir(&folder).expect("a folder");
        let issuers = Certificates::make(&folder);
        let (port, issuer, registry) = (Port::reserve(), Port::reserve(), Registry::start());
        for subject in ["a", "b", ":.c:d"] {
            let answer =
                registry.ask("POST", &format!("/subjects/{subject}/versions"), r#"{"schema": "\"string\""}"#);
            assert_eq!(answer.expect("an answer").status, 200);
        }
        let mut node = process::command("node");
        let upstream = registry.url().rsplit_once(':').expect("a port").1.to_owned();
        node.env("NODE_PATH", installed("client-node").join("node_modules"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node/guard.js"))
            .args([guard, &port.number().to_string(), &issuer.number().to_string(), &upstream])
            .arg(scratch.path());
        let mut process = Process::start("guard", node, &scratch.path().join("guard.log"));
        process.wait_for_line("ready", Duration::from_secs(60));
        Self { port, issuer, certificates, issuers, registry, _process: process, scratch }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port.number())
    }

    fn authority(&self) -> (&'static str, String) {
        ("ssl.ca.location", self.certificates.authority.display().to_string())
    }

    fn own_certificate(&self) -> [(&'static str, String); 2] {
        let file = |path: &Path| path.display().to_string();
        [
            ("ssl.certificate.location", file(&self.certificates.certificate)),
            ("ssl.key.location", file(&self.certificates.key)),
        ]
    }

    /// Exports the registry through its guard, with these properties in a file. The machine knows the issuer's authority only.
    fn export(&self, properties: &[(&str, String)]) -> Finished {
        let text: String = properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let file = self.scratch.path().join("client.properties");
        std::fs::write(&file, text).expect("a file");
        let to = self.scratch.path().join("export.jsonl");
        let _ = std::fs::remove_file(&to);
        let (properties, to) = (file.display().to_string(), to.display().to_string());
        Replevin::new(&["registry", "export", "--from", &self.url(), "--from-properties", &properties, &to])
            .env("SSL_CERT_FILE", &self.issuers.authority.display().to_string())
            .run()
    }

    /// What came is what the registry holds.
    fn lets_in(&self, properties: &[(&str, String)]) {
        self.export(properties).expect_code(0);
        let file = self.scratch.path().join("export.jsonl").display().to_string();
        Replevin::new(&["registry", "diff", &file, &self.registry.url()]).run().expect_code(0);
    }

    fn keeps_out(&self, properties: &[(&str, String)], words: &[&str]) {
        let refused = self.export(properties);
        assert_ne!(refused.code(), Some(0), "{refused:?}");
        for word in words {
            assert!(refused.stderr.contains(word), "{word} is not in {}", refused.stderr);
        }
        for secret in ["backup:secret", "pass:word", "wrong"] {
            assert!(!refused.stderr.contains(secret), "{}", refused.stderr);
        }
    }
}

#[test]
fn a_client_certificate() {
    let guarded = Guarded::by("certificate");
    let own = guarded.own_certificate();
    guarded.lets_in(&[&[guarded.authority()], &own[..]].concat());
    guarded.keeps_out(&[guarded.authority()], &["certificate"]);
    guarded.keeps_out(&own, &["ssl.ca.location"]);
}

#[test]
fn a_user() {
    let guarded = Guarded::by("user");
    let user = |info: &str| ("basic.auth.user.info", info.to_owned());
    guarded.lets_in(&[guarded.authority(), user("backup:pass:word")]);
    guarded.keeps_out(&[guarded.authority(), user("backup:wrong")], &["401"]);
    guarded.keeps_out(&[guarded.authority()], &["401", "basic.auth.user.info"]);
}

#[test]
fn a_token_of_an_issuer() {
    let guarded = Guarded::by("token");
    let token = |secret: &str, scope: &str| {
        vec![
            guarded.authority(),
            ("bearer.auth.credentials.source", "OAUTHBEARER".to_owned()),
            (
                "bearer.auth.issuer.endpoint.url",
                format!("https://localhost:{}/token", guarded.issuer.number()),
            ),
            ("bearer.auth.client.id", "backup".to_owned()),
            ("bearer.auth.client.secret", secret.to_owned()),
            ("bearer.auth.scope", scope.to_owned()),
        ]
    };
    let secret = "backup:secret+1%& ~";
    guarded.lets_in(&token(secret, "schemas"));
    // What the issuer would refuse to see.
    let more = [&guarded.own_certificate()[..], &[("header.X-API-Key", "key".to_owned())]].concat();
    guarded.lets_in(&[token(secret, "schemas"), more].concat());
    guarded.keeps_out(&token("wrong", "schemas"), &["no token for client \"backup\"", "401"]);
    guarded.keeps_out(&token(secret, "others"), &["401"]);
    guarded.keeps_out(&[guarded.authority(), ("bearer.auth.token", "wrong".to_owned())], &["401"]);
}

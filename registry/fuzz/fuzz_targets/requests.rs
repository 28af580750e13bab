//! Any bytes as requests to a registry, one a line: method, path, query and body between tabs. Each has an answer that is no failure
//! of the registry, and an error is JSON with a number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::api::{About, Api, Request};
use registry::service::{Registry, Settings};
use registry::store::memory::MemoryStore;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::new(uuid::Uuid::nil()));
        let registry = Registry::open(store, Settings::default(), || 0).await.expect("a registry");
        let api = Api::new(Arc::new(registry), About { docs_enabled: true, ..About::default() });
        for line in data.split(|byte| *byte == b'\n') {
            let mut parts = line.splitn(4, |byte| *byte == b'\t');
            let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let (method, path, query) = (text(), text(), text());
            let body = parts.next().unwrap_or_default().to_vec().into();
            let (method, path, query) = (method.as_str(), path.as_str(), query.as_str());
            let answer = api.answer(&Request { method, path, query, body, ..Request::default() }).await;
            assert!(answer.status < 500, "{}: {:?}", answer.status, answer.body);
            if answer.status >= 400 {
                let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                assert!(document["error_code"].is_u64(), "{document}");
            }
        }
    });
});

//! The scenarios of the registry, asked over HTTP of `replevin registry serve`: each in a context of its own of one process, and in
//! a process of its own where it needs one that nothing was registered in.

#[path = "../../registry/tests/scenarios/http.rs"]
mod http;
#[path = "../../registry/tests/scenarios/runner.rs"]
mod runner;

use http::Http;
use sandbox::process;
use sandbox::registry::Registry;
use sandbox::scratch::{self, Scratch};
use std::sync::OnceLock;

fn address(registry: &Registry) -> String {
    registry.url().trim_start_matches("http://").to_owned()
}

/// Runs all scenarios of the files whose number leaves this rest, so that several tests share the work.
async fn run(rest: usize, parts: usize) {
    static SHARED: OnceLock<Registry> = OnceLock::new();
    let mut files: Vec<String> = std::fs::read_dir(runner::folder())
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut failures = Vec::new();
    for (n, file) in files.iter().enumerate().filter(|(n, _)| n % parts == rest) {
        for (m, scenario) in runner::scenarios(file).iter().enumerate() {
            let outcome = if scenario.fresh.is_some() {
                let own = match file.as_str() {
                    "axonops_identity.yaml" => {
                        Registry::start_with(&[("SCHEMA_REGISTRY_IDENTITY", "axonops")])
                    }
                    _ => Registry::start(),
                };
                runner::run(&Http { address: address(&own), context: None }, scenario).await
            } else {
                let address = address(SHARED.get_or_init(Registry::start));
                runner::run(&Http { address, context: Some(format!(".f{n}-{m}")) }, scenario).await
            };
            failures.extend(outcome.err().map(|why| format!("{file}: {why}")));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Whatever is asked, an answer is one that the OpenAPI document knows, and none is a failure of the server.
#[test]
fn generated_requests_find_no_fault() {
    let registry = Registry::start_with(&[("SCHEMA_REGISTRY_DOCS_ENABLED", "true")]);
    let packages = scratch::installed("schemathesis").join("packages");
    let folder = Scratch::new("schemathesis");
    let mut command = process::command("python3");
    command.env("PYTHONPATH", &packages).current_dir(folder.path());
    command.args(["-m", "schemathesis.cli", "run", &format!("{}/openapi.json", registry.url())]);
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    command.args(["--checks", checks, "--phases", "coverage,fuzzing", "--max-examples", "5"]);
    command.args(["--seed", "20261122", "--no-shrink", "--continue-on-failure", "--warnings", "off"]);
    let output = command.output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let tested = said.lines().find_map(|line| line.trim().strip_prefix("Tested: "));
    assert!(tested.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count > 100)), "{said}");
}

#[tokio::test]
async fn the_first_half_of_the_scenarios_holds_over_http() {
    run(0, 2).await;
}

#[tokio::test]
async fn the_second_half_of_the_scenarios_holds_over_http() {
    run(1, 2).await;
}

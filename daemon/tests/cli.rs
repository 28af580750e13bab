//! The binary as a shell sees it, where no server is needed: what goes to which stream, and with which exit code.

use std::process::{Command, Output};

fn replevin(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replevin")).args(args).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_are_data_and_list_the_exit_codes() {
    let help = replevin(&["--help"]);
    let said = text(&help.stdout);
    assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
    for command in ["backup", "restore", "list", "describe", "verify", "dump", "prune", "check-config"] {
        assert!(said.contains(&format!("\n  {command} ")), "{command} is not in\n{said}");
    }
    assert!(said.contains("130  interrupted"), "{said}");
    assert_eq!(
        text(&replevin(&["--version"]).stdout).trim(),
        concat!("replevin ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn kafka_backup_is_another_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_kafka-backup")).arg("--version").output().expect("runs");
    assert_eq!(text(&output.stdout), text(&replevin(&["--version"]).stdout));
    let output =
        Command::new(env!("CARGO_BIN_EXE_kafka-backup")).args(["verify", "--depth"]).output().expect("runs");
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(2), text(&replevin(&["verify", "--depth"]).stderr))
    );
    // Alone, it says what is missing.
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("kafka-backup");
    std::fs::copy(env!("CARGO_BIN_EXE_kafka-backup"), &alone).expect("copied");
    let output = Command::new(&alone).arg("--version").env("PATH", folder.path()).output().expect("runs");
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(127) && said.contains("  -> install both"), "{said}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_so_on_stderr() {
    for args in
        [&["backups"][..], &["backup"], &["verify", "--path", "/tmp", "--depth"], &["dump", "--path", "/tmp"]]
    {
        let output = replevin(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(text(&output.stderr).contains("Usage:"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_place_without_a_backup_ends_with_10_in_words_and_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    let words = replevin(&["verify", "--path", &path, "--backup-id", "nightly"]);
    assert_eq!((words.status.code(), words.stdout.len()), (Some(10), 0), "{}", text(&words.stderr));
    assert!(text(&words.stderr).contains("  -> "), "a next step: {}", text(&words.stderr));
    let json = replevin(&["verify", "--path", &path, "--backup-id", "nightly", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_slice(&json.stderr).expect("one JSON document");
    assert_eq!((json.status.code(), &error["exit_code"]), (Some(10), &serde_json::json!(10)));
    assert!(!text(&words.stderr).contains('\u{1b}'), "no colours outside of a terminal");
}

#[test]
fn a_job_file_is_checked_without_touching_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.yaml");
    std::fs::write(
        &file,
        "mode: backup\nbackup_id: nightly\nsource:\n  bootstrap_server: [\"localhost:9092\"]\n",
    )
    .expect("written");
    let output = replevin(&["check-config", "-c", &file.display().to_string()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("job.yaml:4") && said.contains("bootstrap_servers"), "{said}");
}

#[test]
fn completions_and_the_man_page_come_from_the_same_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = replevin(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("check-config"), "{shell}");
    }
    assert!(text(&replevin(&["man"]).stdout).starts_with(".ie"), "roff");
}

//! Whole registries, moved between two of ours in this process: what arrives, what is refused, what a cut leaves behind.

use super::*;
use crate::client::scripted::{Asked, Reply, Server, json};
use crate::client::{Client, ClientSettings, Placed, Schema, Settings};
use crate::names::Subject;
use crate::schema::Reference;
use crate::service::Deletion;
use crate::settings::Mode;
use serde_json::{Value, json as value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

pub(super) const GO_ON: &(dyn Fn() -> bool + Sync) = &|| false;

pub(crate) fn client(url: &str) -> Arc<Client> {
    let mut settings = ClientSettings::new([url]);
    settings.limits.pause = std::time::Duration::from_millis(1);
    settings.limits.retries = 1;
    Arc::new(Client::new(settings, Arc::new(|| 7)).expect("a client"))
}

pub(crate) fn settings(value: Value) -> Settings {
    match value {
        Value::Object(settings) => settings,
        _ => Settings::new(),
    }
}

pub(crate) fn avro(subject: &str, text: &str, references: &[(&str, &str, i32)]) -> Schema {
    let references = references.iter().map(|(name, subject, version)| Reference {
        name: (*name).to_owned(),
        subject: (*subject).to_owned(),
        version: *version,
    });
    Schema {
        subject: subject.into(),
        schema: text.into(),
        schema_type: "AVRO".into(),
        references: references.collect(),
        ..Schema::default()
    }
}

/// A registry with everything: a diamond of references, contexts, labels, settings, modes, an alias, deleted versions.
pub(crate) async fn furnish(client: &Client) {
    let add = async |schema: Schema| client.register(&schema, Placed::Next).await.expect("registered").id;
    let record =
        |name: &str, fields: &str| format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#);
    add(avro("z-base", &record("Base", r#"{"name":"a","type":"int"}"#), &[])).await;
    add(avro("y-left", &record("Left", r#"{"name":"b","type":"Base"}"#), &[("Base", "z-base", 1)])).await;
    add(avro("x-right", &record("Right", r#"{"name":"c","type":"Base"}"#), &[("Base", "z-base", 1)])).await;
    let top = record("Top", r#"{"name":"l","type":"Left"},{"name":"r","type":"Right"}"#);
    add(avro("a-top", &top, &[("Left", "y-left", 1), ("Right", "x-right", 1)])).await;
    add(avro("deleted", "\"int\"", &[])).await;
    add(avro("deleted", "\"long\"", &[])).await;
    add(avro("all-gone", "\"float\"", &[])).await;
    let proto = Schema {
        schema: "syntax = \"proto3\";\nmessage M { int32 a = 1; }".into(),
        schema_type: "PROTOBUF".into(),
        ..avro(":.pay:proto", "", &[])
    };
    add(proto).await;
    add(Schema { schema_type: "JSON".into(), ..avro(":.pay:json", r#"{"type":"object"}"#, &[]) }).await;
    let labelled = Schema {
        metadata: Some(
            value!({"properties": {"owner": "me"}, "tags": {"a": ["PII"]}, "sensitive": ["owner"]}),
        ),
        rule_set: Some(
            value!({"domainRules": [{"name": "r", "kind": "CONDITION", "mode": "WRITE", "type": "CEL", "expr": "true"}]}),
        ),
        ..avro("labelled", &record("L", r#"{"name":"a","type":"string"}"#), &[])
    };
    add(labelled).await;
    add(avro("alias", "\"double\"", &[])).await;
    let at = Subject::parse;
    client.delete_version(&at("deleted"), 1, Deletion::Soft).await.expect("deleted");
    client.delete_subject(&at("all-gone"), Deletion::Soft).await.expect("deleted");
    client.set_config(&at(""), &settings(value!({"compatibilityLevel": "FULL"}))).await.expect("set");
    client.set_config(&at(":.pay:"), &settings(value!({"compatibilityLevel": "NONE"}))).await.expect("set");
    client
        .set_config(&at("a-top"), &settings(value!({"compatibilityLevel": "NONE", "normalize": true})))
        .await
        .expect("set");
    client.set_config(&at("alias"), &settings(value!({"alias": "labelled"}))).await.expect("set");
    client.set_mode(&at("x-right"), Mode::Readonly).await.expect("set");
    client.set_mode(&at(":.pay:"), Mode::Readonly).await.expect("set");
}

pub(crate) async fn side(client: &Arc<Client>) -> Side {
    Side::live(Arc::clone(client), &[], &Progress::default(), GO_ON).await.expect("read")
}

async fn export(client: &Client, path: &Path) -> Counts {
    let head =
        Head { format: FORMAT, program: "t".into(), source: client.name(), time_ms: 1, contexts: Vec::new() };
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = ArchiveWriter::new(file, path.display().to_string(), head).expect("begun");
    let progress = Progress::default();
    let walk = Walk { client, contexts: &[], known: None, progress: &progress, stop: GO_ON };
    walk.go(&mut |item| writer.add(item)).await.expect("walked");
    writer.finish().expect("written").1
}

struct Bed {
    folder: tempfile::TempDir,
    _servers: Vec<Server>,
    from: Arc<Client>,
    to: Arc<Client>,
}

impl Bed {
    /// A furnished registry and an empty one.
    async fn new() -> Self {
        Self::behind(|_, _| None).await
    }

    /// The empty one behind a look at each request.
    async fn behind(first: impl Fn(usize, &Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        Self::between(|_, _| None, first).await
    }

    /// The furnished one behind such a look, which begins when the switch is on.
    async fn before(
        first: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> (Self, Arc<AtomicBool>) {
        let switch = Arc::new(AtomicBool::new(false));
        let is_on = Arc::clone(&switch);
        let first = move |_: usize, asked: &Asked| is_on.load(SeqCst).then(|| first(asked)).flatten();
        (Self::between(first, |_, _| None).await, switch)
    }

    async fn between(
        from: impl Fn(usize, &Asked) -> Option<Reply> + Send + Sync + 'static,
        to: impl Fn(usize, &Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let (from, to) = (Server::registry(from).await, Server::registry(to).await);
        let bed = Self {
            folder: tempfile::tempdir().expect("a folder"),
            from: client(&from.url),
            to: client(&to.url),
            _servers: vec![from, to],
        };
        furnish(&bed.from).await;
        bed
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("registry.jsonl")
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    async fn import(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<(Plan, Applied)> {
        let from = Side::file(&self.file(), GO_ON)?;
        let mut modes = Modes::open(self.journal(), &self.to)?;
        let mut there = side(&self.to).await;
        modes.show_in(&mut there.index);
        let planned = plan(&from, &there, true, &[]).await?;
        let progress = Progress::default();
        let run = Run { from: &from, to: &self.to, progress: &progress, stop };
        let applied = apply(&planned, &run, &there.index, &mut modes).await?;
        Ok((planned, applied))
    }

    fn modes(&self) -> Modes {
        Modes::open(self.journal(), &self.to).expect("a journal")
    }

    /// A follower that has brought everything.
    async fn follow<'a>(
        &self,
        progress: &'a Progress,
        modes: &mut Modes,
        mass_deletion: MassDeletion,
    ) -> Follow<'a> {
        let (from, to) = (Arc::clone(&self.from), Arc::clone(&self.to));
        let begun = Follow::begin(from, to, &[], true, mass_deletion, progress, GO_ON).await;
        let mut follow = begun.expect("begun");
        brought(&mut follow, modes).await;
        follow
    }

    async fn differences(&self) -> Differences {
        diff(&side(&self.from).await, &side(&self.to).await, Guids::OfSameTexts).await.expect("compared")
    }
}

/// Plans and writes.
async fn brought(follow: &mut Follow<'_>, modes: &mut Modes) -> Applied {
    let plan = follow.plan(modes).await.expect("planned");
    assert_eq!(plan.conflicts, []);
    follow.write(&plan, modes).await.expect("written")
}

#[tokio::test]
async fn a_registry_comes_out_of_a_file_as_it_went_in() {
    let bed = Bed::new().await;
    let counts = export(&bed.from, &bed.file()).await;
    assert_eq!((counts.contexts, counts.versions), (2, 11));
    let (plan, applied) = bed.import(GO_ON).await.expect("imported");
    assert_eq!(plan.conflicts, []);
    assert_eq!((applied.registered, applied.deleted), (11, 2));
    let differences = bed.differences().await;
    assert_eq!((differences.count, differences.versions), (0, 11), "{differences:?}");
    let file = Side::file(&bed.file(), GO_ON).expect("read");
    let differences = diff(&file, &side(&bed.to).await, Guids::OfSameTexts).await.expect("compared");
    assert_eq!(differences.count, 0, "{differences:?}");
    assert!(!bed.journal().exists());
    let (plan, applied) = bed.import(GO_ON).await.expect("imported again");
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!((applied, plan.present), (Applied::default(), 11));
    let progress = Progress::default();
    let (versions, count, found) = check(&file, &progress, GO_ON).await.expect("checked");
    assert_eq!((versions, count), (11, 0), "{found:?}");
}

#[tokio::test]
async fn what_is_referred_to_comes_before_what_refers_to_it() {
    let bed = Bed::new().await;
    export(&bed.from, &bed.file()).await;
    let text = std::fs::read_to_string(bed.file()).expect("read");
    let place =
        |subject: &str| text.find(&format!("\"subject\":\"{subject}\",\"version\":1")).expect("there");
    assert!(place("z-base") < place("y-left") && place("z-base") < place("x-right"));
    assert!(place("y-left") < place("a-top") && place("x-right") < place("a-top"));
}

#[tokio::test]
async fn a_cut_or_changed_file_is_noticed_before_anything_is_touched() {
    let bed = Bed::new().await;
    export(&bed.from, &bed.file()).await;
    let whole = std::fs::read(bed.file()).expect("read");
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let mut wrong: Vec<Vec<u8>> = (1..lines.len()).map(|n| lines[..n].concat()).collect();
    wrong.push(whole[..whole.len() - 1].to_vec());
    wrong.push([&whole[..], b"{}\n"].concat());
    wrong.push(String::from_utf8_lossy(&whole).replacen("\"long\\\"", "\"int\\\"", 1).into_bytes());
    let without_a_line: Vec<u8> =
        lines.iter().enumerate().filter(|(n, _)| *n != 5).flat_map(|(_, line)| line.to_vec()).collect();
    wrong.push(without_a_line);
    for bytes in wrong {
        std::fs::write(bed.file(), &bytes).expect("written");
        let error = Side::file(&bed.file(), GO_ON).err().expect("refused");
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
    }
    for bytes in [&b"{\"a\":1}\n"[..], b"", b"hello"] {
        std::fs::write(bed.file(), bytes).expect("written");
        assert!(Side::file(&bed.file(), GO_ON).is_err());
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_nothing_is_touched() {
    let bed = Bed::new().await;
    export(&bed.from, &bed.file()).await;
    // Takes id 1, and version 1 of a subject.
    bed.to.register(&avro("z-base", "\"bytes\"", &[]), Placed::Next).await.expect("registered");
    let from = Side::file(&bed.file(), GO_ON).expect("read");
    let there = side(&bed.to).await;
    let plan = plan(&from, &there, true, &[]).await.expect("planned");
    let named: Vec<_> =
        plan.conflicts.iter().map(|conflict| (conflict.subject.as_str(), conflict.version)).collect();
    assert_eq!(named, [("z-base", 1)], "{:?}", plan.conflicts);
    assert!(!plan.conflicts[0].next_step.is_empty());
}

#[tokio::test]
async fn an_interrupted_import_puts_modes_back_and_goes_on_later() {
    let bed = Bed::new().await;
    export(&bed.from, &bed.file()).await;
    bed.to.set_mode(&Subject::parse(""), Mode::Readonly).await.expect("set");
    let asked = AtomicBool::new(false);
    // Stops at the second look.
    let stop = || asked.swap(true, SeqCst);
    let error = bed.import(&stop).await.expect_err("interrupted");
    assert_eq!(error.kind(), Kind::Interrupted);
    assert_eq!(bed.to.mode(&Subject::parse("")).await.expect("a mode"), Some(Mode::Readonly));
    assert!(!bed.journal().exists());
    bed.import(GO_ON).await.expect("imported");
    assert_eq!(bed.differences().await.count, 0);
}

#[tokio::test]
async fn a_killed_import_leaves_a_journal_and_the_next_one_puts_modes_back() {
    // From some request on the registry is away: then neither versions nor modes can be written any more.
    let away = Arc::new(AtomicBool::new(false));
    let (is_away, count) = (Arc::clone(&away), std::sync::atomic::AtomicUsize::new(0));
    let bed = Bed::behind(move |_, asked| {
        let registers = asked.method == "POST";
        if registers && count.fetch_add(1, SeqCst) == 3 {
            is_away.store(true, SeqCst);
        }
        is_away.load(SeqCst).then(|| json(503, "{}"))
    })
    .await;
    export(&bed.from, &bed.file()).await;
    let error = bed.import(GO_ON).await.expect_err("away");
    assert_eq!(error.kind(), Kind::Failed);
    assert!(bed.journal().exists(), "what is to be put back is written down");
    away.store(false, SeqCst);
    assert_eq!(bed.to.mode(&Subject::parse("")).await.expect("a mode"), Some(Mode::Import));
    let elsewhere = Modes::open(bed.journal(), &bed.from).expect_err("of another registry");
    assert_eq!(elsewhere.kind(), Kind::Input);
    bed.import(GO_ON).await.expect("imported");
    assert_eq!(bed.differences().await.count, 0);
    assert!(!bed.journal().exists());
}

#[tokio::test]
async fn schemas_that_refer_to_each_other_are_refused_and_missing_ones_are_named() {
    let bed = Bed::new().await;
    let schema = |subject: &str, refers: &str, id: u32| Schema {
        version: 1,
        id,
        ..avro(subject, "\"int\"", &[("n", refers, 1)])
    };
    let lines = [
        schema("a", "b", 100),
        Schema { schema: "\"long\"".into(), ..schema("b", "a", 101) },
        Schema { schema: "\"bytes\"".into(), ..schema("c", "nowhere", 102) },
    ];
    let head =
        Head { format: FORMAT, program: "t".into(), source: "t".into(), time_ms: 1, contexts: Vec::new() };
    let file = std::fs::File::create(bed.file()).expect("a file");
    let mut writer = ArchiveWriter::new(file, "file".into(), head).expect("begun");
    lines.into_iter().try_for_each(|schema| writer.add(Item::Version(schema))).expect("written");
    writer.finish().expect("written");
    let from = Side::file(&bed.file(), GO_ON).expect("read");
    let plan = plan(&from, &side(&bed.to).await, true, &[]).await.expect("planned");
    let named: Vec<_> = plan.conflicts.iter().map(|conflict| conflict.subject.as_str()).collect();
    assert_eq!(named, ["a", "c"], "{:?}", plan.conflicts);
    let (_, count, found) = check(&from, &Progress::default(), GO_ON).await.expect("checked");
    assert!(
        count > 0 && found.iter().any(|finding| finding.subject == "c" && finding.what == "reference"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_long_chain_of_references_is_read_in_order() {
    let bed = Bed::new().await;
    // Each refers to the next name, so that the first of the list waits for all others.
    for n in (0..300).rev() {
        let schema = match n {
            299 => avro("c299", "{\"type\":\"fixed\",\"name\":\"F299\",\"size\":1}", &[]),
            n => {
                let next = format!("c{:03}", n + 1);
                let text = format!("{{\"type\":\"fixed\",\"name\":\"F{n}\",\"size\":1}}");
                let refers = format!("F{}", n + 1);
                avro(&format!("c{n:03}"), &text, &[(&refers, &next, 1)])
            }
        };
        bed.to.register(&schema, Placed::Next).await.expect("registered");
    }
    let found = side(&bed.to).await;
    assert_eq!((found.index.versions.len(), found.oddities.count), (300, 0));
    let mut seen = HashSet::new();
    for (key, entry) in &found.index.versions {
        assert!(entry.references.iter().all(|reference| seen.contains(reference)), "{key} comes too early");
        seen.insert(key.clone());
    }
}

#[tokio::test]
async fn a_follower_has_what_was_registered_set_and_deleted_meanwhile() {
    let bed = Bed::new().await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    let at = Subject::parse;
    bed.from.register(&avro("new", "\"int\"", &[]), Placed::Next).await.expect("registered");
    bed.from
        .set_config(&at("deleted"), &settings(value!({"compatibilityLevel": "NONE"})))
        .await
        .expect("set");
    bed.from.register(&avro("deleted", "\"int\"", &[]), Placed::Next).await.expect("registered");
    bed.from.delete_version(&at("labelled"), 1, Deletion::Soft).await.expect("deleted");
    bed.from.delete_subject(&at("all-gone"), Deletion::Permanent).await.expect("deleted");
    bed.from.delete_config(&at("a-top")).await.expect("deleted");
    bed.from.set_mode(&at("new"), Mode::Readonly).await.expect("set");
    bed.from.delete_mode(&at("x-right")).await.expect("deleted");
    follow.look().await.expect("looked");
    assert!(follow.waits());
    follow.look().await.expect("looked");
    assert!(!follow.waits());
    let applied = brought(&mut follow, &mut modes).await;
    assert!(applied.removed >= 1 && applied.registered == 2, "{applied:?}");
    follow.look().await.expect("looked");
    let plan = follow.plan(&modes).await.expect("planned");
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(
        bed.to.mode(&at("")).await.expect("a mode"),
        Some(Mode::Import),
        "nobody else registers meanwhile"
    );
    modes.put_back(&bed.to).await.expect("put back");
    let proof = follow.prove(&modes).await.expect("compared");
    assert_eq!(proof.found.count, 0, "{proof:?}");
    assert_eq!(bed.differences().await.count, 0);
}

#[tokio::test]
async fn one_that_is_written_differently_and_means_the_same_is_no_conflict() {
    let bed = Bed::new().await;
    let spaced = Schema { version: 1, id: 500, ..avro("spaced", "{ \"type\" : \"int\" }", &[]) };
    let head =
        Head { format: FORMAT, program: "t".into(), source: "t".into(), time_ms: 1, contexts: Vec::new() };
    let file = std::fs::File::create(bed.file()).expect("a file");
    let mut writer = ArchiveWriter::new(file, "file".into(), head).expect("begun");
    writer.add(Item::Version(spaced)).expect("written");
    writer.finish().expect("written");
    let (first, _) = bed.import(GO_ON).await.expect("imported");
    assert_eq!(first.registered(), 1);
    let (second, _) = bed.import(GO_ON).await.expect("imported");
    assert!(second.is_empty() && second.conflicts.is_empty(), "{second:?}");
    let differences =
        diff(&Side::file(&bed.file(), GO_ON).expect("read"), &side(&bed.to).await, Guids::OfSameTexts)
            .await
            .expect("compared");
    assert_eq!(differences.rewritten, 1);
}

/// What a registry answers that has nothing.
fn empty(asked: &Asked) -> Option<Reply> {
    match asked.path.as_str() {
        "/subjects" | "/schemas" => Some(json(200, "[]")),
        path if path.starts_with("/subjects/") => {
            Some(json(404, r#"{"error_code":40401,"message":"Subject not found"}"#))
        }
        _ => None,
    }
}

#[tokio::test]
async fn what_looks_do_not_see_and_the_source_still_has_is_not_deleted() {
    let (bed, hides) =
        Bed::before(|asked| (asked.path == "/subjects/labelled/versions").then(|| empty(asked)).flatten())
            .await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    for _ in 0..3 {
        hides.store(true, SeqCst);
        follow.look().await.expect("looked");
        assert!(follow.waits());
        let plan = follow.plan(&modes).await.expect("planned");
        assert!(plan.is_empty(), "{plan:?}");
        follow.look().await.expect("looked");
        let plan = follow.plan(&modes).await.expect("planned");
        assert!(plan.is_empty(), "it answers for the version itself: {plan:?}");
        hides.store(false, SeqCst);
        follow.look().await.expect("looked");
        assert!(!follow.waits());
    }
}

#[tokio::test]
async fn a_version_that_says_it_is_live_is_not_deleted_because_a_list_lags() {
    let (bed, lags) = Bed::before(|asked| {
        let live = asked.path == "/subjects/labelled/versions" && !asked.query.contains("deleted=true");
        live.then(|| empty(asked)).flatten()
    })
    .await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    lags.store(true, SeqCst);
    for _ in 0..2 {
        follow.look().await.expect("looked");
        let plan = follow.plan(&modes).await.expect("planned");
        assert!(plan.is_empty(), "{plan:?}");
    }
    assert!(
        side(&bed.from)
            .await
            .index
            .versions
            .iter()
            .all(|(key, entry)| { !entry.deleted || ["deleted", "all-gone"].contains(&&*key.subject) })
    );
}

#[tokio::test]
async fn a_source_that_has_lost_everything_deletes_nothing_unless_that_is_allowed() {
    for allowed in [MassDeletion::Refused, MassDeletion::Followed] {
        let (bed, lost) = Bed::before(empty).await;
        let (progress, mut modes) = (Progress::default(), bed.modes());
        let mut follow = bed.follow(&progress, &mut modes, allowed).await;
        lost.store(true, SeqCst);
        follow.look().await.expect("looked");
        let plan = follow.plan(&modes).await.expect("planned");
        assert!(plan.is_empty(), "no settings either: {plan:?}");
        let looked = follow.look().await;
        let plan = follow.plan(&modes).await.expect("planned");
        match allowed {
            MassDeletion::Refused => {
                let error = looked.expect_err("refused");
                assert_eq!(error.kind(), Kind::Input, "{error}");
                assert!(error.next_step().is_some_and(|next| next.contains("--follow-mass-deletion")));
                assert!(plan.is_empty(), "{plan:?}");
            }
            MassDeletion::Followed => {
                looked.expect("looked");
                assert_eq!(plan.versions.len(), 11, "{plan:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_refers_to_each_other_is_deleted_and_removed_in_the_order_that_a_registry_allows() {
    // What must go first is asked for twice, and meets whatever does not wait for it.
    let refused = Mutex::new(HashSet::new());
    let bed = Bed::behind(move |_, asked| {
        let first = asked.method == "DELETE" && asked.path == "/subjects/a-top/versions/1";
        let new = first && refused.lock().expect("unpoisoned").insert(asked.query.clone());
        new.then(|| json(503, "{}"))
    })
    .await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    bed.from.set_mode(&Subject::parse("x-right"), Mode::Readwrite).await.expect("set");
    let diamond = ["a-top", "x-right", "y-left", "z-base"].map(Subject::parse);
    for subject in &diamond {
        bed.from.delete_subject(subject, Deletion::Soft).await.expect("deleted");
    }
    follow.look().await.expect("looked");
    assert_eq!(brought(&mut follow, &mut modes).await.deleted, 4);
    for subject in &diamond {
        bed.from.delete_subject(subject, Deletion::Permanent).await.expect("deleted");
    }
    for _ in 0..2 {
        follow.look().await.expect("looked");
    }
    assert_eq!(brought(&mut follow, &mut modes).await.removed, 4);
    modes.put_back(&bed.to).await.expect("put back");
    assert_eq!(bed.differences().await.count, 0);
}

#[tokio::test]
async fn what_an_alias_hides_is_written_and_deleted_itself_and_not_what_the_alias_leads_to() {
    let bed = Bed::new().await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    let alias = Subject::parse("alias");
    let set = async |to: Value| {
        bed.from
            .set_config(&alias, &settings(value!({ "alias": to, "compatibilityLevel": "NONE" })))
            .await
            .expect("set");
    };
    // Another version under the alias itself, and the alias is there again.
    set(Value::Null).await;
    bed.from.register(&avro("alias", "\"bytes\"", &[]), Placed::Next).await.expect("registered");
    set(value!("labelled")).await;
    follow.look().await.expect("looked");
    assert_eq!(brought(&mut follow, &mut modes).await.registered, 1);
    assert_eq!(bed.to.version(&alias, 2).await.expect("there").schema, "\"bytes\"");
    let config = bed.to.config(&alias).await.expect("asked").expect("settings");
    assert_eq!(config.get("alias"), Some(&value!("labelled")));
    // All of it is gone, with its settings.
    set(Value::Null).await;
    bed.from.delete_subject(&alias, Deletion::Soft).await.expect("deleted");
    bed.from.delete_subject(&alias, Deletion::Permanent).await.expect("deleted");
    for _ in 0..2 {
        follow.look().await.expect("looked");
    }
    assert_eq!(brought(&mut follow, &mut modes).await.removed, 2);
    assert_eq!(bed.to.config(&alias).await.expect("asked"), None);
    modes.put_back(&bed.to).await.expect("put back");
    assert_eq!(bed.to.versions(&Subject::parse("labelled")).await.expect("asked"), [(1, false)]);
    assert_eq!(bed.differences().await.count, 0);
}

#[tokio::test]
async fn a_number_that_is_used_again_for_another_schema_is_replaced() {
    for at_the_proof in [false, true] {
        let bed = Bed::new().await;
        let (progress, mut modes) = (Progress::default(), bed.modes());
        let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
        let top = Subject::parse("a-top");
        let config = bed.from.config(&top).await.expect("asked").expect("settings");
        bed.from.delete_subject(&top, Deletion::Soft).await.expect("deleted");
        bed.from.delete_subject(&top, Deletion::Permanent).await.expect("deleted");
        bed.from.register(&avro("a-top", "\"string\"", &[]), Placed::Next).await.expect("registered");
        bed.from.set_config(&top, &config).await.expect("set");
        if at_the_proof {
            modes.put_back(&bed.to).await.expect("put back");
            let proof = follow.prove(&modes).await.expect("compared");
            assert!(proof.found.count > 0 && follow.waits(), "{proof:?}");
            let plan = follow.plan(&modes).await.expect("planned");
            assert!(plan.is_empty() && plan.conflicts.is_empty(), "once is not enough: {plan:?}");
            follow.prove(&modes).await.expect("compared");
        } else {
            // All of them have been read again, and what was another schema once more.
            for _ in 0..11 {
                follow.look().await.expect("looked");
            }
        }
        assert!(!follow.waits());
        let applied = brought(&mut follow, &mut modes).await;
        assert_eq!((applied.removed, applied.registered), (1, 1));
        modes.put_back(&bed.to).await.expect("put back");
        let proof = follow.prove(&modes).await.expect("compared");
        assert_eq!(proof.found.count, 0, "{proof:?}");
        assert_eq!(bed.differences().await.count, 0);
    }
}

#[tokio::test]
async fn a_version_that_only_the_target_has_is_a_difference_and_a_subject_is_extra() {
    let bed = Bed::new().await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    let add = async |subject: &str, version: i32, id: u32, text: &str| {
        let schema = Schema { version, id, ..avro(subject, text, &[]) };
        bed.to.register(&schema, Placed::Same).await.expect("registered");
    };
    add("of-the-target", 1, 900, "{\"type\":\"fixed\",\"name\":\"A\",\"size\":1}").await;
    modes.put_back(&bed.to).await.expect("put back");
    let proof = follow.prove(&modes).await.expect("compared");
    assert_eq!((proof.found.count, proof.extra), (0, 1), "{proof:?}");
    bed.to.set_mode(&Subject::parse(""), Mode::Import).await.expect("set");
    add("labelled", 2, 901, "{\"type\":\"fixed\",\"name\":\"B\",\"size\":1}").await;
    bed.to.set_mode(&Subject::parse(""), Mode::Readwrite).await.expect("set");
    let proof = follow.prove(&modes).await.expect("compared");
    let named: Vec<_> =
        proof.found.differences.iter().map(|found| (found.what, &*found.subject, found.version)).collect();
    assert_eq!((named, proof.extra), (vec![("version", "labelled", Some(2))], 1));
}

#[tokio::test]
async fn a_proof_compares_guids_also_where_texts_are_written_differently() {
    // The source has written one text with a space, and made its GUID of that.
    let (bed, spaced) = Bed::before(|asked| {
        let version = r#"{"subject":"all-gone","version":1,"id":7,"guid":"00000000-0000-0000-0000-000000000001","schema":" \"float\"","deleted":true}"#;
        (asked.path == "/subjects/all-gone/versions/1").then(|| json(200, version))
    })
    .await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    modes.put_back(&bed.to).await.expect("put back");
    spaced.store(true, SeqCst);
    let proof = follow.prove(&modes).await.expect("compared").found;
    let named: Vec<_> = proof.differences.iter().map(|found| (found.what, &*found.subject)).collect();
    assert_eq!((proof.rewritten, named), (1, vec![("guid", "all-gone")]));
    assert_eq!(bed.differences().await.count, 0, "anybody else may write it as he likes");
}

#[tokio::test]
async fn what_a_write_that_broke_off_has_left_is_written_by_the_next_one() {
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let bed = Bed::behind(move |_, asked| {
        (is_away.load(SeqCst) && asked.path.starts_with("/subjects/new-2")).then(|| json(503, "{}"))
    })
    .await;
    let (progress, mut modes) = (Progress::default(), bed.modes());
    let mut follow = bed.follow(&progress, &mut modes, MassDeletion::Refused).await;
    for n in 1..4 {
        let text = format!("{{\"type\":\"fixed\",\"name\":\"N\",\"size\":{n}}}");
        bed.from.register(&avro(&format!("new-{n}"), &text, &[]), Placed::Next).await.expect("registered");
    }
    away.store(true, SeqCst);
    follow.look().await.expect("looked");
    let plan = follow.plan(&modes).await.expect("planned");
    follow.write(&plan, &mut modes).await.expect_err("away");
    away.store(false, SeqCst);
    let applied = brought(&mut follow, &mut modes).await;
    assert!((1..3).contains(&applied.registered), "what is there is not written again: {applied:?}");
    modes.put_back(&bed.to).await.expect("put back");
    assert_eq!(bed.differences().await.count, 0);
}

#[tokio::test]
async fn a_registry_that_does_not_keep_numbers_or_labels_is_named() {
    // Takes everything under a number of its own, which old registries do not even tell.
    let forgets = |tells: bool| {
        move |_: usize, asked: &Asked| {
            let body: Value = serde_json::from_slice(&asked.body).ok()?;
            let id = body.get("id").filter(|_| asked.method == "POST")?;
            let told = if tells { value!({ "id": id, "version": 7 }) } else { value!({ "id": id }) };
            Some(json(200, &told.to_string()))
        }
    };
    for tells in [true, false] {
        let bed = Bed::behind(forgets(tells)).await;
        export(&bed.from, &bed.file()).await;
        let error = bed.import(GO_ON).await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Failed, "{error}");
        assert!(error.next_step().is_some_and(|next| next.contains("numbers of versions")), "{error}");
        assert!(error.to_string().contains(&bed.to.name()), "{error}");
    }
    // Has the version, without its labels.
    let bed = Bed::behind(|_, asked| {
        let bare = r#"{"subject":"labelled","version":1,"id":8,"schema":"\"int\""}"#;
        let read = asked.method == "GET" && asked.path == "/subjects/labelled/versions/1";
        read.then(|| json(200, bare))
    })
    .await;
    export(&bed.from, &bed.file()).await;
    let error = bed.import(GO_ON).await.expect_err("refused");
    assert!(error.next_step().is_some_and(|next| next.contains("metadata and rules")), "{error}");
}

#[tokio::test]
async fn an_override_is_the_mode_of_the_registry_alone_and_hides_the_others() {
    let bed = Bed::new().await;
    bed.from.set_mode(&Subject::parse(""), Mode::ReadonlyOverride).await.expect("set");
    bed.to.set_mode(&Subject::parse("x-right"), Mode::Readonly).await.expect("set");
    let (from, mut to) = (side(&bed.from).await, side(&bed.to).await);
    let modes: Vec<_> = from.index.modes.iter().map(|(place, mode)| (place.as_str(), *mode)).collect();
    assert_eq!(modes, [("", Mode::ReadonlyOverride)]);
    assert!(from.oddities.named.iter().any(|named| named.contains("READONLY_OVERRIDE")));
    to.index.modes.insert("x-right".into(), Mode::Readonly);
    let plan = plan(&from, &to, true, &[]).await.expect("planned");
    assert_eq!(plan.modes, [(String::new(), Some(Mode::ReadonlyOverride))].into());
}

#[tokio::test]
async fn a_mode_that_every_subject_answers_is_that_of_the_registry() {
    let one_differs = Arc::new(AtomicBool::new(false));
    let differs = Arc::clone(&one_differs);
    let server = Server::registry(move |_, asked| {
        let subject = asked.path.strip_prefix("/mode/").filter(|subject| !subject.starts_with("%3A"))?;
        let mode = if subject == "b" && differs.load(SeqCst) { "READONLY" } else { "READWRITE" };
        Some(json(200, &value!({ "mode": mode }).to_string()))
    })
    .await;
    let client = client(&server.url);
    for subject in ["a", "b"] {
        client.register(&avro(subject, "\"int\"", &[]), Placed::Next).await.expect("registered");
    }
    let found = side(&client).await;
    assert_eq!(found.index.modes, [(String::new(), Mode::Readwrite)].into());
    assert!(found.oddities.named.iter().any(|named| named.contains("every subject")), "{:?}", found.oddities);
    one_differs.store(true, SeqCst);
    let found = side(&client).await;
    assert_eq!((found.index.modes.len(), found.oddities.count), (3, 0));
}

#[tokio::test]
async fn a_version_that_is_listed_and_not_there_is_named() {
    let not_found = || Some(json(404, r#"{"error_code":40402,"message":"Version 1 not found"}"#));
    let (bed, lost) = Bed::before(move |asked| match asked.path.as_str() {
        "/subjects/labelled/versions/1" => not_found(),
        "/schemas" => Some(json(200, "[]")),
        _ => None,
    })
    .await;
    assert_eq!(side(&bed.from).await.oddities.count, 0);
    lost.store(true, SeqCst);
    // The alias comes from the list of all schemas, which has nothing.
    let found = side(&bed.from).await;
    assert_eq!(found.oddities.named, ["labelled version 1 is listed, and not there when it is asked for"]);
    assert_eq!(found.index.versions.len(), 9);
}

//! Settings and modes: what is changed for the time, what was there before, and what there is in the end.
//!
//! ```text
//! versions that come with ids      IMPORT       of the context, in which then all versions come with ids
//! versions that the target counts  READWRITE    and the level under which the archive's own order fits
//! ```

use super::decide::Obstacles;
use super::plan::{Action, ForTheTime, Version, What};
use super::settings::{Choice, Globals, Registration, Settings, Strategy};
use crate::client::{self, Client};
use crate::names::{Context, Subject};
use crate::settings::{CompatibilityPolicy, Level, Mode};
use crate::transfer::content::settled;
use crate::transfer::diff::same_config;
use crate::transfer::error::Result;
use crate::transfer::index::{Key, Place, root};
use crate::transfer::journal::{Began, Journal};
use crate::transfer::source::Side;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What decides whether versions fit each other.
const FITTING: [&str; 3] = ["compatibilityLevel", "compatibilityPolicy", "compatibilityGroup"];
/// What makes other metadata and rules of a schema than it came with.
const COMPLETING: [&str; 4] = ["defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet"];

/// How versions of a subject are compared when they are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) level: Level,
    pub(super) policy: CompatibilityPolicy,
    /// Only versions of a group are compared.
    pub(super) is_grouped: bool,
    /// The target has the same rule now.
    pub(super) is_the_targets: bool,
}

/// What becomes of settings and modes.
#[derive(Default)]
pub(super) struct Places {
    pub(super) for_the_time: ForTheTime,
    pub(super) before: BTreeMap<Place, Option<client::Settings>>,
    pub(super) configs: BTreeMap<Place, Option<client::Settings>>,
    pub(super) modes: BTreeMap<Place, Mode>,
    /// By target subject, of those to which the target adds versions.
    pub(super) rules: HashMap<Arc<str>, Rule>,
}

/// A subject of the target with what comes to it.
#[derive(Default)]
struct Coming {
    /// Its name in the archive.
    source: Arc<str>,
    /// It is in the target in the end.
    is_restored: bool,
    /// Something of it is registered or deleted.
    is_written: bool,
    /// Versions come with ids.
    imports: bool,
    /// Versions come that the target counts.
    counts: bool,
    /// It was asked for, and not only referred to.
    is_asked: bool,
    /// What the target has live of it goes, or may all be deleted for a while, and with that its settings and its mode may go.
    is_emptied: bool,
}

pub(super) struct Look<'a> {
    pub(super) from: &'a Side,
    pub(super) to: &'a Side,
    pub(super) client: &'a Client,
    pub(super) settings: &'a Settings,
    pub(super) journal: &'a Journal,
    pub(super) began: &'a Began,
}

impl Look<'_> {
    pub(super) async fn places(
        &self,
        versions: &[Version],
        removals: &[Key],
        obstacles: &mut Obstacles,
    ) -> Result<Places> {
        let coming = self.coming(versions, removals);
        let mut places = Places::default();
        self.roots(&coming, &mut places);
        let mut scopes: HashMap<Context, client::Settings> = HashMap::new();
        for (subject, coming) in &coming {
            if coming.counts {
                let context = Subject::parse(subject).context;
                if !scopes.contains_key(&context) {
                    let scope = match self.is_borrowed(&context) {
                        // What counts there now does so only for the time.
                        true => self.shown(&context),
                        false => self.client.config_in_scope(&Subject::new(context.clone(), "")).await?,
                    };
                    scopes.insert(context.clone(), scope);
                }
                self.rule(subject, coming, &scopes[&context], &mut places, obstacles);
            }
            self.config(subject, coming, &mut places);
        }
        self.modes(&coming, &mut places, obstacles).await?;
        Ok(places)
    }

    fn coming(&self, versions: &[Version], removals: &[Key]) -> BTreeMap<Arc<str>, Coming> {
        let mut coming: BTreeMap<Arc<str>, Coming> = BTreeMap::new();
        for version in versions {
            let subject = coming.entry(Arc::clone(&version.target_subject)).or_default();
            subject.source = Arc::clone(&version.subject);
            subject.is_restored |= version.action.is_there_in_the_end() && version.target_version.is_some();
            subject.is_asked |= version.needed_by.is_none();
            subject.is_written |= version.action.is_written() || version.action == Action::Delete;
            if version.action.is_written() {
                subject.imports |= version.target_id.is_some();
                subject.counts |= version.target_id.is_none();
            }
        }
        let brings_deleted = |version: &&Version| version.action.is_written() && version.deleted;
        for version in versions.iter().filter(brings_deleted) {
            if let Some(coming) = coming.get_mut(&version.target_subject) {
                coming.is_emptied = true;
            }
        }
        // Versions of the target that stay, and live ones of them.
        let mut left: HashMap<&str, (usize, usize)> = HashMap::new();
        let index = &self.to.index.versions;
        for (key, entry) in index {
            let (all, live) = left.entry(&key.subject).or_default();
            (*all, *live) = (*all + 1, *live + usize::from(!entry.deleted));
        }
        let deleted = versions.iter().filter(|version| version.action == Action::Delete);
        let deleted = deleted.filter_map(Version::target).map(|key| (key, 0));
        for (key, gone) in removals.iter().map(|key| (key.clone(), 1)).chain(deleted) {
            let Some((known, entry)) = index.get_key_value(&key) else { continue };
            let (all, live) = left.entry(&known.subject).or_default();
            *all = all.saturating_sub(gone);
            *live = live.saturating_sub(usize::from(!entry.deleted));
            let is_emptied = *all == 0 || (*live == 0 && !entry.deleted);
            if let Some(coming) = coming.get_mut(&key.subject).filter(|_| is_emptied) {
                coming.is_emptied = true;
            }
        }
        coming
    }

    /// An earlier run has left settings for the time that count for all of a context.
    fn is_borrowed(&self, context: &Context) -> bool {
        [root(context), root(&Context::global())].iter().any(|place| self.journal.has_config(place))
    }

    /// What counts in a context when all is put back.
    fn shown(&self, context: &Context) -> client::Settings {
        let mut shown = self.own(&root(&Context::global())).cloned().unwrap_or_default();
        shown.extend(self.own(&root(context)).cloned().unwrap_or_default());
        shown
    }

    fn is_absent(&self, subject: &str) -> bool {
        self.began.absent.contains(subject)
    }

    fn own(&self, place: &str) -> Option<&client::Settings> {
        self.to.index.configs.get(place)
    }

    /// Changes settings of a place for the time, and notes what is there.
    fn borrow(&self, place: &str, changed: client::Settings, places: &mut Places) {
        let all = places.for_the_time.configs.entry(place.to_owned()).or_default();
        all.extend(changed);
        let before = self.own(place).cloned().map(|own| cleared(own, all.keys()));
        places.before.insert(place.to_owned(), before);
    }

    /// In the end a place has these settings.
    fn end(&self, place: &str, end: Option<client::Settings>, places: &mut Places) {
        let mut names: BTreeSet<String> =
            self.own(place).into_iter().flat_map(|own| own.keys().cloned()).collect();
        names.extend(
            places
                .for_the_time
                .configs
                .get(place)
                .into_iter()
                .flat_map(|for_the_time| for_the_time.keys().cloned()),
        );
        let end = end.map(|end| match settled(&Value::Object(end)) {
            Value::Object(end) => cleared(end, names.iter()),
            _ => client::Settings::new(),
        });
        places.configs.insert(place.to_owned(), end);
    }

    /// Settings and modes of contexts and of the registry. Of an empty context the level is set first: it is the one under which its
    /// subjects came about.
    fn roots(&self, coming: &BTreeMap<Arc<str>, Coming>, places: &mut Places) {
        let targets: BTreeSet<Context> = coming
            .iter()
            .filter(|(_, coming)| coming.is_restored)
            .map(|(subject, _)| Subject::parse(subject).context)
            .collect();
        let mut roots: Vec<(Place, bool)> = targets
            .iter()
            .map(|context| (root(context), self.began.empty.contains(context.as_str())))
            .collect();
        roots.push((root(&Context::global()), self.began.all_empty));
        for (place, is_empty) in roots {
            let wanted = match self.settings.globals {
                Globals::WhereEmpty => is_empty,
                Globals::Always => true,
                Globals::Never => false,
            };
            if !wanted || targets.is_empty() {
                continue;
            }
            let config =
                self.from.index.configs.get(&place).filter(|_| self.settings.configs == Choice::Restored);
            if let Some(config) = config.filter(|config| !same_config(Some(config), self.own(&place))) {
                let fitting: client::Settings = fitting(config).collect();
                if is_empty && !fitting.is_empty() {
                    self.borrow(&place, fitting, places);
                }
                self.end(&place, Some(config.clone()), places);
            }
            let mode = self.from.index.modes.get(&place).filter(|_| self.settings.modes == Choice::Restored);
            if let Some(mode) = mode.filter(|mode| self.to.index.modes.get(&place) != Some(*mode)) {
                places.modes.insert(place, *mode);
            }
        }
    }

    /// The level under which a subject's versions are registered.
    fn rule(
        &self,
        subject: &Arc<str>,
        coming: &Coming,
        scope: &client::Settings,
        places: &mut Places,
        obstacles: &mut Obstacles,
    ) {
        let context = Subject::parse(subject).context;
        let own = self.own(subject);
        // What the context has for the time counts as the context's.
        let for_the_time = |place: &str| places.for_the_time.configs.get(place);
        let (of_context, of_all) = (root(&context), root(&Context::global()));
        let borrowed = (for_the_time(&of_context), for_the_time(&of_all));
        let now = |name: &str| {
            let of = |config: Option<&client::Settings>| config.and_then(|config| config.get(name)).cloned();
            let of_context = || of(borrowed.0).or_else(|| of(self.own(&of_context)));
            of(own).or_else(of_context).or_else(|| of(borrowed.1)).or_else(|| of(Some(scope)))
        };
        let present: client::Settings =
            FITTING.iter().filter_map(|name| Some(((*name).to_owned(), now(name)?))).collect();
        let mut then = present.clone();
        let archived = self.archived(coming).filter(|_| self.is_absent(subject));
        if let Some(archived) = &archived {
            then.extend(fitting(archived));
        }
        if let Some(level) = self.settings.set_compatibility {
            then.insert(FITTING[0].to_owned(), level.name().into());
        }
        if self.settings.registration == Registration::Forced {
            then.insert(FITTING[0].to_owned(), Level::None.name().into());
        }
        let completing = COMPLETING.iter().find(|name| {
            now(name).is_some_and(|value| *settled(&value).to_string() != *"{}" && !value.is_null())
        });
        if let Some(name) = completing {
            let why = format!(
                "the target's settings complete metadata or rules ({name}), so schemas would not stay what they are"
            );
            let next = "clear that setting for as long as this is restored, or restore with force_ids";
            obstacles.add(What::Settings, (subject, None), why, next);
        }
        let changed: client::Settings = then
            .iter()
            .filter(|(name, value)| present.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let is_left_over = self.is_borrowed(&context) || self.journal.has_config(subject);
        // Of an alias the target would tell how the version fits what that leads to.
        let has_alias = own.and_then(|own| own.get("alias")).is_some_and(|alias| !alias.is_null());
        let is_the_targets = changed.is_empty() && borrowed == (None, None) && !is_left_over && !has_alias;
        if !changed.is_empty() {
            // A registry that is told something of a subject takes its own default for a level that is not told.
            let level = then.get(FITTING[0]).map(|level| (FITTING[0].to_owned(), level.clone()));
            self.borrow(subject, changed.into_iter().chain(level).collect(), places);
        }
        let text = |name: &str| then.get(name).and_then(Value::as_str);
        let policy = then.get(FITTING[1]).and_then(|policy| serde_json::from_value(policy.clone()).ok());
        let rule = Rule {
            level: text(FITTING[0]).and_then(|level| level.parse().ok()).unwrap_or(Level::Backward),
            policy: policy.unwrap_or_default(),
            is_grouped: text(FITTING[2]).is_some_and(|group| !group.is_empty()),
            is_the_targets,
        };
        places.rules.insert(Arc::clone(subject), rule);
    }

    /// What the archive has set a subject to, with names as they are in the target.
    fn archived(&self, coming: &Coming) -> Option<client::Settings> {
        let config = self.from.index.configs.get(&*coming.source);
        let mut config = config.filter(|_| self.settings.configs == Choice::Restored)?.clone();
        if let Some(alias) = config.get("alias").and_then(Value::as_str).filter(|alias| !alias.is_empty()) {
            let context = Subject::parse(&coming.source).context;
            let leads_to = Subject::parse_in(alias, &context).to_string();
            if let Some(renamed) = self.settings.renamed(&leads_to) {
                config.insert("alias".to_owned(), renamed.into());
            }
        }
        Some(config)
    }

    /// What a subject is set to in the end.
    fn config(&self, subject: &Arc<str>, coming: &Coming, places: &mut Places) {
        let own = self.own(subject);
        let alias = own.and_then(|own| own.get("alias")).and_then(Value::as_str);
        if coming.is_written && alias.is_some_and(|alias| !alias.is_empty()) {
            let mut lifted = client::Settings::from_iter([("alias".to_owned(), Value::Null)]);
            // Where the alias was all that it was set to, the level of its context must go on to count.
            if let Some(rule) = places.rules.get(subject) {
                lifted.insert(FITTING[0].to_owned(), rule.level.name().into());
            }
            self.borrow(subject, lifted, places);
        }
        if coming.is_emptied && own.is_some() && !places.before.contains_key(&**subject) {
            self.borrow(subject, client::Settings::new(), places);
        }
        if !coming.is_restored {
            return;
        }
        let is_kept = self.settings.strategy == Strategy::Skip && !self.is_absent(subject);
        if is_kept {
            return;
        }
        let archived = self.archived(coming);
        let mut end = match (self.settings.strategy, self.settings.configs) {
            // What is only referred to was not asked for.
            (Strategy::Overwrite, Choice::Restored) if coming.is_asked => archived,
            _ => own.cloned().or(archived),
        };
        // A level is set where versions come, and where an earlier run of this restore has brought them.
        let gets_level = coming.is_asked && self.began.written.contains(&**subject);
        if let Some(level) = self.settings.set_compatibility.filter(|_| gets_level) {
            let end = end.get_or_insert_default();
            end.insert(FITTING[0].to_owned(), level.name().into());
        }
        if !same_config(end.as_ref(), own) || (coming.is_emptied && end.is_some()) {
            self.end(subject, end, places);
        }
        let mode =
            self.from.index.modes.get(&*coming.source).filter(|_| self.settings.modes == Choice::Restored);
        let there = self.to.index.modes.get(&**subject);
        let stays = (self.settings.strategy != Strategy::Overwrite || !coming.is_asked) && there.is_some();
        if let Some(mode) = mode.filter(|mode| there != Some(*mode) && !stays) {
            places.modes.insert(subject.to_string(), *mode);
        }
    }

    /// Modes without which nothing could be written.
    async fn modes(
        &self,
        coming: &BTreeMap<Arc<str>, Coming>,
        places: &mut Places,
        obstacles: &mut Obstacles,
    ) -> Result<()> {
        let mut contexts: BTreeMap<Context, Vec<(&Arc<str>, &Coming)>> = BTreeMap::new();
        for (subject, coming) in coming.iter().filter(|(_, coming)| coming.is_written) {
            contexts.entry(Subject::parse(subject).context).or_default().push((subject, coming));
        }
        let changed = places.configs.keys().chain(places.for_the_time.configs.keys());
        for place in changed {
            contexts.entry(Subject::parse(place).context).or_default();
        }
        for (context, subjects) in contexts {
            let place = root(&context);
            let scope = match self.to.index.modes.get(&place) {
                Some(mode) => *mode,
                // Not every registry knows it, and nothing stands behind it.
                None if context.is_global() => Mode::Readwrite,
                None if self.journal.has(&place) || self.journal.has(&root(&Context::global())) => {
                    self.to.index.modes.get(&root(&Context::global())).copied().unwrap_or(Mode::Readwrite)
                }
                None => self.client.mode_in_scope(&Subject::new(context.clone(), "")).await?,
            };
            if scope == Mode::ReadonlyOverride {
                let why =
                    format!("{} is READONLY_OVERRIDE: somebody has stopped all writing", self.client.name());
                obstacles.add(What::Mode, (&place, None), why, "lift it first (PUT /mode)");
                continue;
            }
            let imports = subjects.iter().any(|(_, coming)| coming.imports);
            let counts = subjects.iter().any(|(_, coming)| coming.counts);
            let wanted = if imports { Mode::Import } else { Mode::Readwrite };
            // Where nothing is registered, it only has to be writable.
            let is_open = |mode: Mode| !imports && !counts && matches!(mode, Mode::Import | Mode::Forward);
            let suits = |mode: Mode| mode == wanted || is_open(mode);
            if !suits(scope) {
                places
                    .for_the_time
                    .modes
                    .insert(place.clone(), (self.to.index.modes.get(&place).copied(), wanted));
            }
            let mut named: BTreeSet<&str> = subjects.iter().map(|(subject, _)| &***subject).collect();
            let configured = places.configs.keys().chain(places.for_the_time.configs.keys());
            named.extend(
                configured.filter(|place| Subject::parse(place).context == context).map(String::as_str),
            );
            named.remove(&*place);
            for subject in named {
                let coming = coming.get(subject);
                let own = self.to.index.modes.get(subject).copied();
                if let Some(own) = own.filter(|own| !suits(*own)) {
                    places.for_the_time.modes.insert(subject.to_owned(), (Some(own), wanted));
                } else if let Some(own) = own.filter(|_| coming.is_some_and(|coming| coming.is_emptied)) {
                    // It goes with the last version.
                    places.for_the_time.modes.insert(subject.to_owned(), (Some(own), own));
                }
            }
        }
        Ok(())
    }
}

fn fitting(config: &client::Settings) -> impl Iterator<Item = (String, Value)> {
    let named = FITTING.iter().filter_map(|name| Some(((*name).to_owned(), config.get(*name)?.clone())));
    named.filter(|(_, value)| !value.is_null())
}

/// Settings with null for all of these names that they do not have.
fn cleared<'a>(mut settings: client::Settings, names: impl Iterator<Item = &'a String>) -> client::Settings {
    for name in names {
        if !settings.contains_key(name) {
            settings.insert(name.clone(), Value::Null);
        }
    }
    settings
}

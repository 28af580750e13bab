//! Whether a schema of the archive and one of the target are the same. Where their references lead is the caller's to compare.

use crate::client::Schema;
use crate::parse::Parsed;
use crate::transfer::content::{Fingerprint, outline_of};
use crate::transfer::error::{Error, Kind, Result};
use crate::transfer::index::{Entry, Key};
use crate::transfer::source::Side;
use futures::FutureExt;
use futures::stream::{FuturesOrdered, StreamExt};
use std::collections::HashMap;

/// A version of the target.
pub(super) type Theirs<'a> = (&'a Key, &'a Entry);

/// Compares, and remembers what texts mean.
pub(super) struct Sameness<'a> {
    from: &'a Side,
    to: &'a Side,
    /// Texts of the target that are read at once.
    at_once: usize,
    stop: &'a (dyn Fn() -> bool + Sync),
    ours: HashMap<(Key, Form), Fingerprint>,
    theirs: HashMap<(Key, Form), Fingerprint>,
    /// Versions of whole subjects of the target, by what they mean.
    subjects: HashMap<(&'a str, Form), HashMap<Fingerprint, Vec<Theirs<'a>>>>,
}

/// The form in which texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As a registry stores them.
    Canonical,
    /// As a registry stores them that normalises.
    Normal,
}

impl<'a> Sameness<'a> {
    pub(super) fn new(
        from: &'a Side,
        to: &'a Side,
        at_once: usize,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let (ours, theirs, subjects) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { from, to, at_once, stop, ours, theirs, subjects }
    }

    /// Fails where it is to stop.
    pub(super) fn check(&self) -> Result<()> {
        match (self.stop)() {
            true => Err(Error::new(Kind::Interrupted, "planning was interrupted")
                .hint("run the same restore again; nothing was touched")),
            false => Ok(()),
        }
    }

    /// Whether the two say the same. Texts are read only where they are not written the same.
    pub(super) async fn is_same(
        &mut self,
        own: (&Key, &Entry),
        other: Theirs<'_>,
        form: Form,
    ) -> Result<bool> {
        if own.1.outline == other.1.outline {
            return Ok(true);
        }
        if own.1.schema_type != other.1.schema_type || own.1.references.len() != other.1.references.len() {
            return Ok(false);
        }
        let mine = self.mine(own, form).await?;
        let known = (other.0.clone(), form);
        let theirs = match self.theirs.get(&known) {
            Some(theirs) => *theirs,
            None => read(self.to, other, form).await?,
        };
        self.theirs.insert(known, theirs);
        Ok(mine == theirs)
    }

    /// The versions of a subject of the target that mean what one of the archive means. All its texts are read, once.
    pub(super) async fn in_subject(
        &mut self,
        own: (&Key, &Entry),
        subject: &[Theirs<'a>],
        form: Form,
    ) -> Result<Vec<Theirs<'a>>> {
        let Some((first, _)) = subject.first() else { return Ok(Vec::new()) };
        let name = (&*first.subject, form);
        if !self.subjects.contains_key(&name) {
            let mut later = subject.iter().copied();
            let mut begun = FuturesOrdered::new();
            let mut meanings: HashMap<Fingerprint, Vec<Theirs<'a>>> = HashMap::new();
            loop {
                while begun.len() < self.at_once.max(1)
                    && let Some(there) = later.next()
                {
                    self.check()?;
                    let to = self.to;
                    begun.push_back(
                        async move { Ok::<_, Error>((read(to, there, form).await?, there)) }.boxed(),
                    );
                }
                let Some(ended) = begun.next().await else { break };
                let (meaning, there) = ended?;
                meanings.entry(meaning).or_default().push(there);
            }
            self.subjects.insert(name, meanings);
        }
        let mine = self.mine(own, form).await?;
        Ok(self.subjects.get(&name).and_then(|meanings| meanings.get(&mine)).cloned().unwrap_or_default())
    }

    async fn mine(&mut self, own: (&Key, &Entry), form: Form) -> Result<Fingerprint> {
        let known = (own.0.clone(), form);
        if let Some(mine) = self.ours.get(&known) {
            return Ok(*mine);
        }
        let mine = read(self.from, own, form).await?;
        self.ours.insert(known, mine);
        Ok(mine)
    }
}

async fn read(side: &Side, (key, entry): (&Key, &Entry), form: Form) -> Result<Fingerprint> {
    match side.schema(key).await? {
        Some(schema) => of(side, &schema, form).await,
        // It was deleted for good meanwhile, and is nothing else.
        None => Ok(entry.outline),
    }
}

async fn of(side: &Side, schema: &Schema, form: Form) -> Result<Fingerprint> {
    let parsed = side.parsed(schema).await?;
    let text = parsed.map(|parsed: Parsed| match form {
        Form::Canonical => parsed.canonical().to_owned(),
        Form::Normal => parsed.normalized(),
    });
    Ok(outline_of(schema, text.as_deref().unwrap_or(&schema.schema)))
}

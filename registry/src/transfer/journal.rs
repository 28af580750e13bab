//! Modes that are borrowed: IMPORT while something is written, and afterwards again what they were.
//!
//! What they were is written to a file before the first of them is changed, and the file goes when all are put back. So a process
//! that was killed leaves both the registry in IMPORT and the file that says what to put back; the same command again does that.

use super::error::{Error, Kind, Result};
use super::index::{Index, Place};
use crate::client::Client;
use crate::names::Subject;
use crate::settings::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Modes of one registry that are borrowed.
#[derive(Debug)]
pub struct Modes {
    path: PathBuf,
    written: Written,
}

/// The file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Written {
    /// The registry, without credentials.
    registry: String,
    /// What each place is put back to; null where it had no mode of its own.
    modes: BTreeMap<Place, Option<Mode>>,
}

impl Modes {
    /// Modes of a registry, with what an earlier run that was cut short has left in the file.
    pub fn open(path: PathBuf, registry: &Client) -> Result<Self> {
        let name = registry.name();
        let written = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Written { registry: name, ..Written::default() }
            }
            Err(error) => {
                return Err(Error::new(Kind::Input, format!("{} cannot be read: {error}", path.display())));
            }
            Ok(bytes) => {
                let written: Written = serde_json::from_slice(&bytes).map_err(|error| {
                    let text = format!("{} is no journal of modes: {error}", path.display());
                    Error::new(Kind::Input, text).hint("name another file with --journal")
                })?;
                if written.registry != name {
                    let text = format!(
                        "{} holds modes of {}, which an earlier run did not put back",
                        path.display(),
                        written.registry
                    );
                    let next = format!(
                        "run the earlier command again, or name another file than that of {name} with --journal"
                    );
                    return Err(Error::new(Kind::Input, text).hint(next));
                }
                written
            }
        };
        Ok(Self { path, written })
    }

    /// An earlier run was cut short.
    pub fn is_left_over(&self) -> bool {
        !self.written.modes.is_empty()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows modes as they are when all are put back.
    pub fn show_in(&self, index: &mut Index) {
        for (place, mode) in &self.written.modes {
            match mode {
                Some(mode) => index.modes.insert(place.clone(), *mode),
                None => index.modes.remove(place),
            };
        }
    }

    /// Sets IMPORT, after what was there is written down.
    pub(super) async fn borrow(
        &mut self,
        client: &Client,
        places: impl IntoIterator<Item = Place>,
    ) -> Result<()> {
        let mut new = Vec::new();
        for place in places {
            if !self.written.modes.contains_key(&place) {
                let before = before(client, &place).await?;
                self.written.modes.insert(place.clone(), before);
            }
            new.push(place);
        }
        if new.is_empty() {
            return Ok(());
        }
        self.write()?;
        for place in new {
            client.set_mode(&Subject::parse(&place), Mode::Import).await?;
        }
        Ok(())
    }

    /// Whether a place is borrowed.
    pub(super) fn has(&self, place: &str) -> bool {
        self.written.modes.contains_key(place)
    }

    /// A borrowed place is put back to something else than it was.
    pub(super) fn settle(&mut self, place: &str, mode: Option<Mode>) -> Result<()> {
        self.written.modes.insert(place.to_owned(), mode);
        self.write()
    }

    /// Puts all modes back, and removes the file.
    pub async fn put_back(&mut self, client: &Client) -> Result<()> {
        // Subjects before their contexts: a context that is writable again must not find its subjects in IMPORT.
        while let Some((place, mode)) = self.written.modes.last_key_value() {
            let set = match mode {
                Some(mode) => client.set_mode(&Subject::parse(place), *mode).await,
                None => client.delete_mode(&Subject::parse(place)).await,
            };
            set.map_err(|error| {
                let text = format!("a mode of {} is not put back: {error}", client.name());
                let next = format!("run the same command again: {} says what it was", self.path.display());
                Error::new(Kind::Failed, text).hint(next)
            })?;
            let place = place.clone();
            self.written.modes.remove(&place);
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::new(Kind::Failed, format!("{} cannot be removed: {error}", self.path.display())))
            }
            _ => Ok(()),
        }
    }

    /// Writes the file so that it is either the old one or the new one, and on the disk.
    fn write(&self) -> Result<()> {
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let write = || {
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(&serde_json::to_vec_pretty(&self.written)?)?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| {
            let text = format!("{} cannot be written: {error}", self.path.display());
            Error::new(Kind::Input, text)
                .hint("name another file with --journal; what was borrowed is put back")
        })
    }
}

/// What a place is to be put back to.
async fn before(client: &Client, place: &str) -> Result<Option<Mode>> {
    let subject = Subject::parse(place);
    let own = client.mode(&subject).await?;
    if own == Some(Mode::ReadonlyOverride) {
        let text = format!("{} is READONLY_OVERRIDE: somebody has stopped all writing", client.name());
        return Err(Error::new(Kind::Input, text).hint("lift it first (PUT /mode)"));
    }
    // The registry itself answers READWRITE also where nothing is set; then that of all contexts counts.
    if place.is_empty()
        && own == Some(Mode::Readwrite)
        && client.mode_in_scope(&subject).await? != Mode::Readwrite
    {
        return Ok(None);
    }
    Ok(own)
}

//! Where a journal is kept: whatever is stored here survives the process.

use super::error::{Error, Kind, Result};
use async_trait::async_trait;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Keeps one journal.
#[async_trait]
pub trait Intents: Send + Sync {
    /// What was stored last; nothing where it was removed, or never stored.
    async fn load(&self) -> Result<Option<Vec<u8>>>;

    /// Stores. Once this has returned, the bytes are found again whatever happens; until then the ones before are.
    async fn store(&self, bytes: &[u8]) -> Result<()>;

    /// Removes what was stored; what is not there stays so.
    async fn remove(&self) -> Result<()>;

    /// What the place is called in messages.
    fn name(&self) -> String;
}

/// In a file.
#[derive(Debug, Clone)]
pub struct InFile(pub PathBuf);

impl InFile {
    /// As [`Intents::load`].
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>> {
        match std::fs::read(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let text = format!("{} cannot be read: {error}", self.0.display());
                Err(Error::new(Kind::Input, text)
                    .hint("see who may read it: it may say what is to be put back"))
            }
            Ok(bytes) => Ok(Some(bytes)),
        }
    }

    /// Writes the file so that it is either the old one or the new one, and on the disk.
    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut beside = self.0.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.0)?;
        self.sync_folder()
    }

    /// What stands in the folder is on the disk.
    fn sync_folder(&self) -> std::io::Result<()> {
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[async_trait]
impl Intents for InFile {
    async fn load(&self) -> Result<Option<Vec<u8>>> {
        self.read()
    }

    async fn store(&self, bytes: &[u8]) -> Result<()> {
        self.write(bytes).map_err(|error| {
            let text = format!("{} cannot be written: {error}", self.0.display());
            Error::new(Kind::Input, text)
                .hint("name another file with --journal; what was borrowed is put back")
        })
    }

    async fn remove(&self) -> Result<()> {
        let removed = match std::fs::remove_file(&self.0) {
            // Else a machine that loses power would find it again, and take it for what an earlier run has left.
            Ok(()) => self.sync_folder(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|error| {
            let text = format!("{} cannot be removed: {error}", self.0.display());
            Error::new(Kind::Failed, text)
                .hint("remove it by hand, or run the same command again: nothing is borrowed any more")
        })
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}
